/* Memory at once: preloaded into programs of a guest (ld.so(8)), it has their memory there from the start.
 *
 * A page that is missed costs a guest three turns of ptrace, as much as three system calls, and a program
 * that starts misses a thousand.  Locked memory (mlockall(2)) is made in one turn for each mapping.  That
 * lasts until the program ends or starts another; what it forks misses pages as ever.
 *
 * LOCKED is MCL_CURRENT | MCL_FUTURE for programs of ours.  Others get MCL_CURRENT, what they begin with, as
 * they may ask for far more than they use: HAProxy has a place for each file that it might open.
 *
 * No part of the C library is used, as this is compiled on one and loaded beside another.
 */

#if !defined(__x86_64__) || !defined(__linux__)
#error "User-Mode Linux is for x86-64"
#endif

enum { SYS_MLOCKALL = 151, MCL_CURRENT = 1, MCL_FUTURE = 2 };

__attribute__((constructor)) static void begin(void)
{
	long result;

	/* Whether that worked makes a difference to speed only. */
	__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_MLOCKALL), "D"(LOCKED) : "rcx", "r11", "memory");
	(void)result;
}
