/* The page that tells the time of a guest: a file that its kernel's clock (`clock.c`), its programs (`glance.c`)
 * and who started it have mapped.  Only one of kernel and programs runs at a time, and none is interrupted but
 * at a system call, so that no more than plain reads and writes is needed.
 *
 * Of the C library no more than errno is used, as this is compiled on one and loaded beside another.
 */

#if !defined(__x86_64__) || !defined(__linux__)
#error "User-Mode Linux is for x86-64"
#endif

typedef unsigned long long u64;
typedef long long s64;

struct timespec { s64 seconds, nanoseconds; };

#define SECOND_NS 1000000000ull
#define STEP_NS 1000ull
#define NEVER_NS (~0ull)
#define PAGE_BYTES 4096

/* Times are of the kernel's clock: since its program began, start_s apart from the date.  `monotonic_ns` and
 * `realtime_ns` are what the guest's own clocks are ahead of it, once that is known (`glance.py`).
 */
struct page { u64 now_ns, looks, waits, expiry_ns; s64 known, monotonic_ns, realtime_ns; };

enum { SYS_OPEN = 2, SYS_CLOSE = 3, SYS_MMAP = 9 };
enum { O_RDWR = 2, O_CLOEXEC = 02000000, PROT_READ_WRITE = 3, MAP_SHARED = 1 };
enum { CLOCK_REALTIME = 0, CLOCK_MONOTONIC = 1, CLOCK_REALTIME_COARSE = 5 };

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall" : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* The page at `path`, or `otherwise` where there is none. */
static volatile struct page *mapped(const char *path, volatile struct page *otherwise)
{
	long fd = call(SYS_OPEN, (long)path, O_RDWR | O_CLOEXEC, 0, 0, 0, 0), address;

	if (fd < 0)
		return otherwise;
	address = call(SYS_MMAP, 0, PAGE_BYTES, PROT_READ_WRITE, MAP_SHARED, fd, 0);
	call(SYS_CLOSE, fd, 0, 0, 0, 0, 0);
	return address < 0 && address >= -PAGE_BYTES ? otherwise : (volatile struct page *)address;
}

/* The one thing of the C library: where it keeps the error of the calls that are passed on. */
extern int *__errno_location(void);

static int told(long result)
{
	if (result >= 0)
		return (int)result;
	*__errno_location() = (int)-result;
	return -1;
}
