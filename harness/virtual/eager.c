/* Memory at once: a library that audits programs of a guest (rtld-audit(7)) has their memory there from the start.
 *
 * A page that is missed costs a guest three turns of ptrace, as much as three system calls, and a program
 * that starts misses a thousand, most of them before any library's constructor runs: the dynamic linker writes
 * addresses all over the libraries.  It asks an auditing library first, and what is locked (mlockall(2)) from then
 * on is made in one turn for each mapping.  That lasts until the program ends, starts another or has had enough
 * (`glance.c`); what it forks misses pages as ever.
 *
 * No part of the C library is used: it would be loaded a second time.
 */

#if !defined(__x86_64__) || !defined(__linux__)
#error "User-Mode Linux is for x86-64"
#endif

enum { SYS_MLOCKALL = 151, MCL_CURRENT = 1, MCL_FUTURE = 2 };

/* Whatever version there is will do, as nothing is audited. */
unsigned la_version(unsigned version)
{
	long result;

	/* Whether that worked makes a difference to speed only. */
	__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_MLOCKALL), "D"(MCL_CURRENT | MCL_FUTURE) : "rcx", "r11", "memory");
	(void)result;
	return version;
}
