/* The time without a system call: part of what is preloaded into programs of a guest (ld.so(8)).
 *
 * A system call costs a guest twenty microseconds of its host's time, and every third asked for the time.  The
 * page with it (`page.h`) is mapped as a device (User-Mode Linux's mmapper).  A glance moves the time on as the
 * kernel's own look does; if that would be past the next timer, the kernel is asked, which has to see to it.
 */

#include "page.h"

enum { SYS_MLOCKALL = 151, SYS_CLOCK_GETTIME = 228, MCL_CURRENT = 1 };
/* The kernel's clock source counts by this (arch/um/kernel/time.c, TIMER_MULTIPLIER). */
#define TICK_NS 256ull

static struct page unknown;
static volatile struct page *page = &unknown;

__attribute__((constructor)) static void begin(void)
{
	page = mapped(CLOCK_DEVICE, &unknown);
#ifdef FRUGAL
	/* What the program began with is there (`eager.c`); it may ask for far more than it will use. */
	call(SYS_MLOCKALL, MCL_CURRENT, 0, 0, 0, 0, 0);
#endif
}

int clock_gettime(int clock, struct timespec *time)
{
	u64 now_ns;

	/* First of all, and by writing: after a fork the page may be missed here, and then somebody else may run. */
	page->looks++;
	now_ns = page->now_ns + STEP_NS;
	if (!page->known || (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME) || now_ns >= page->expiry_ns)
		return told(call(SYS_CLOCK_GETTIME, clock, (long)time, 0, 0, 0, 0));
	page->now_ns = now_ns;
	now_ns = now_ns / TICK_NS * TICK_NS + (u64)(clock == CLOCK_MONOTONIC ? page->monotonic_ns : page->realtime_ns);
	time->seconds = (s64)(now_ns / SECOND_NS);
	time->nanoseconds = (s64)(now_ns % SECOND_NS);
	return 0;
}

/* The obsolete time zone is nobody's business. */
int gettimeofday(struct timespec *time, void *zone)
{
	(void)zone;
	clock_gettime(CLOCK_REALTIME, time);
	time->nanoseconds /= 1000; /* a timeval has microseconds there */
	return 0;
}

s64 time(s64 *told_s)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (told_s)
		*told_s = now.seconds;
	return now.seconds;
}
