/* The clock of a guest: preloaded into linux.uml (ld.so(8)), it takes the place of the host's.
 *
 * User-Mode Linux asks the C library for the time, for one timer, for a wait until that timer's signal,
 * and for random bytes.  Nothing else of the host's reaches a guest without devices.  Here
 *
 *   - time stands still while the guest works, but for STEP_NS a look at the clock, so that whoever
 *     polls it gets on, and no two looks show the same;
 *   - the timer is a number, and when the guest waits (in its idle loop, by sigsuspend; since Linux 7, with the
 *     timer's signal blocked, by poll of a descriptor that tells of it), time jumps to it;
 *   - who makes system calls for ever, but never looks, gets on too: after TURNS turns from kernel to program without
 *     a look each takes as long as one.  (Some settings of a network are tried again and again while somebody else,
 *     who waits for a timer, has its lock: restart_syscall() in net/.);
 *   - random bytes come from a seed (splitmix64: Steele, Lea, Flood, OOPSLA 2014).
 *
 * The timer's signal is raised here and nowhere else, at a look at the clock or at a wait, so that a guest is
 * never interrupted by what the host does meanwhile: it is one computation, and the seed decides all of it.
 */

#include "page.h"

struct itimerspec { struct timespec interval, value; };
struct pollfd { int fd; short events, happened; };

enum { SYS_POLL = 7, SYS_GETPID = 39, SYS_WAIT4 = 61, SYS_RT_SIGSUSPEND = 130, SYS_GETTID = 186, SYS_FUTEX = 202, SYS_TGKILL = 234,
       SYS_SIGNALFD4 = 289 };
enum { SIGALRM = 14, SIGSET_BYTES = 8 };

#define TURNS 4096

static struct page unseen = { .expiry_ns = NEVER_NS };
static volatile struct page *page = &unseen;
static u64 start_ns, random_state;
static u64 interval_ns;
static u64 turns, looks_then;
static int timer_fd = -1;

/* The decimal value of NAME=... in the environment, or 0. */
static u64 number(char **environment, const char *name)
{
	for (; *environment; environment++) {
		const char *variable = *environment, *wanted = name;
		u64 value = 0;

		while (*wanted && *variable == *wanted)
			variable++, wanted++;
		if (*wanted || *variable++ != '=')
			continue;
		while (*variable >= '0' && *variable <= '9')
			value = value * 10 + (u64)(*variable++ - '0');
		return value;
	}
	return 0;
}

/* The C library gives what it gives main() to constructors too. */
__attribute__((constructor)) static void begin(int count, char **arguments, char **environment)
{
	(void)count, (void)arguments;
	random_state = number(environment, "VIPDRILL_SEED");
	start_ns = number(environment, "VIPDRILL_START_S") * SECOND_NS;
	page = mapped("/log/clock", &unseen);
	page->expiry_ns = NEVER_NS;
}

/* The timer has expired: it is set anew if it is periodic, and its signal raised. */
static void expire(void)
{
	page->expiry_ns = interval_ns ? page->expiry_ns + interval_ns : NEVER_NS;
	call(SYS_TGKILL, call(SYS_GETPID, 0, 0, 0, 0, 0, 0), call(SYS_GETTID, 0, 0, 0, 0, 0, 0), SIGALRM, 0, 0, 0);
}

int clock_gettime(int clock, struct timespec *time)
{
	u64 now_ns;

	page->looks++;
	page->now_ns += STEP_NS;
	if (page->now_ns >= page->expiry_ns)
		expire();
	now_ns = page->now_ns;
	if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
		now_ns += start_ns;
	time->seconds = (s64)(now_ns / SECOND_NS);
	time->nanoseconds = (s64)(now_ns % SECOND_NS);
	return 0;
}

/* The kernel comes back from a program. */
static void turn(void)
{
	u64 looks = page->looks + page->waits;

	if (looks != looks_then) {
		looks_then = looks;
		turns = 0;
	} else if (++turns > TURNS) {
		page->now_ns += STEP_NS;
		if (page->now_ns >= page->expiry_ns)
			expire();
	}
}

/* By ptrace it waits for the program to stop, */
int waitpid(int pid, int *status, int options)
{
	int result = told(call(SYS_WAIT4, pid, (long)status, options, 0, 0, 0));

	turn();
	return result;
}

/* without it for a word that the program changes. */
long syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long result = call(number, a, b, c, d, e, f);

	if (number == SYS_FUTEX)
		turn();
	return result >= 0 || result < -PAGE_BYTES ? result : told(result);
}

int gettimeofday(struct timespec *time, void *zone)
{
	(void)zone;
	clock_gettime(CLOCK_REALTIME, time);
	time->nanoseconds /= 1000; /* a timeval has microseconds there */
	return 0;
}

/* A guest on one processor has one timer. */
int timer_create(int clock, void *event, void **timer)
{
	(void)clock, (void)event;
	*timer = (void *)1;
	return 0;
}

int timer_settime(void *timer, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	u64 value_ns = (u64)new->value.seconds * SECOND_NS + (u64)new->value.nanoseconds;

	(void)timer, (void)flags;
	if (old)
		old->interval.seconds = old->interval.nanoseconds = old->value.seconds = old->value.nanoseconds = 0;
	interval_ns = value_ns ? (u64)new->interval.seconds * SECOND_NS + (u64)new->interval.nanoseconds : 0;
	page->expiry_ns = value_ns ? page->now_ns + value_ns : NEVER_NS;
	return 0;
}

int timer_gettime(void *timer, struct itimerspec *left)
{
	u64 expiry_ns = page->expiry_ns;
	u64 left_ns = expiry_ns == NEVER_NS ? 0 : expiry_ns > page->now_ns ? expiry_ns - page->now_ns : 1;

	(void)timer;
	left->interval.seconds = left->interval.nanoseconds = 0;
	left->value.seconds = (s64)(left_ns / SECOND_NS);
	left->value.nanoseconds = (s64)(left_ns % SECOND_NS);
	return 0;
}

/* The guest waits: nobody has anything to do before the timer. */
static void jump(void)
{
	page->waits++;
	if (page->expiry_ns == NEVER_NS)
		return;
	if (page->now_ns < page->expiry_ns)
		page->now_ns = page->expiry_ns;
	expire();
}

int sigsuspend(const void *mask)
{
	jump();
	return (int)call(SYS_RT_SIGSUSPEND, (long)mask, SIGSET_BYTES, 0, 0, 0, 0);
}

/* The descriptor that tells of the timer's signal, the only such that there is. */
int signalfd(int fd, const void *mask, int flags)
{
	return timer_fd = told(call(SYS_SIGNALFD4, fd, (long)mask, SIGSET_BYTES, flags, 0, 0));
}

int poll(struct pollfd *polled, unsigned long count, int timeout_ms)
{
	if (count == 1 && polled->fd == timer_fd)
		jump();
	return told(call(SYS_POLL, (long)polled, (long)count, timeout_ms, 0, 0, 0));
}

long getrandom(unsigned char *bytes, unsigned long size, unsigned flags)
{
	(void)flags;
	for (unsigned long i = 0; i < size; i++) {
		u64 z = random_state += 0x9e3779b97f4a7c15ull;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ z >> 27) * 0x94d049bb133111ebull;
		bytes[i] = (unsigned char)(z ^ z >> 31);
	}
	return (long)size;
}
