// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What `cargo xtask bench` runs in its guest: loads livepatches in turn and says what each took.
 *
 * One process, so that sockets and namespaces that are there to be walked over stay, locked into memory, so that
 * no page has to come from the host meanwhile. Reads orders from standard input, one a line:
 *
 *   dir DIR             where modules are
 *   module NAME         loads a module that is no livepatch
 *   write FILE TEXT
 *   sockets N           from now on N raw sockets are open
 *   namespaces N        from now on there are N network namespaces with net.ipv4.tcp_challenge_ack_limit=100
 *   cost SYMBOL         measure 1000 calls of it while a patch is enabled; `-` to end that
 *   read FILE           measure reading it; `-` to end that
 *   open N              measure opening and closing N raw sockets; 0 to end that
 *   rounds N
 *   cycle NAME LP...    N times, for each livepatch: load, measure, disable, unload; `-` for no livepatch
 *
 * and prints `@ CYCLE LIVEPATCH WHAT NUMBER`. Times are nanoseconds of the guest; `..._cpu` are those of this
 * process on the processor, `..._work` with what other tasks executed meanwhile: waiting does not count.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define METER "/sys/module/ctwin_meter/parameters/"
#define LIVEPATCHES "/sys/kernel/livepatch/"

static char dir[512] = ".", cost[128], to_read[256], buffer[1 << 16];
static unsigned int rounds = 1, to_open, sockets, namespaces = 1;

static void die(const char *format, ...)
{
	int error = errno;
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(error));
	exit(1);
}

static int64_t now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

#define ELAPSED now(CLOCK_MONOTONIC)
#define CPU now(CLOCK_PROCESS_CPUTIME_ID)

static void wait_a_little(void)
{
	usleep(10000);
}

static void write_file(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die("writing %s", file);
	close(fd);
}

/* Reads all of a file; `buffer` holds its last part. */
static size_t read_file(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t got;
	size_t last = 0;

	if (fd < 0)
		die("opening %s", file);
	while ((got = read(fd, buffer, sizeof(buffer) - 1)) > 0)
		last = got;
	if (got < 0)
		die("reading %s", file);
	close(fd);
	buffer[last] = 0;
	return last;
}

/* What all other tasks together have executed so far, kworkers included. */
static int64_t others(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int64_t sum = 0;

	if (!proc)
		die("opening /proc");
	while ((entry = readdir(proc))) {
		pid_t pid = strtol(entry->d_name, NULL, 10);
		struct timespec time;
		clockid_t clock;

		if (pid <= 0 || pid == getpid() || clock_getcpuclockid(pid, &clock))
			continue;
		if (!clock_gettime(clock, &time))
			sum += time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
	}
	closedir(proc);
	return sum;
}

/* The file is read once before, so that its pages are at hand. */
static void load(const char *name, int measure, int64_t *cpu, int64_t *elapsed)
{
	char path[640];
	int fd;

	snprintf(path, sizeof(path), "%s/%s.ko", dir, name);
	if (measure)
		read_file(path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("opening %s", path);
	*elapsed = ELAPSED;
	*cpu = CPU;
	if (syscall(SYS_finit_module, fd, "", 0))
		die("loading %s", path);
	*cpu = CPU - *cpu;
	close(fd);
}

static int raw_socket(void)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 1);

	if (fd < 0)
		die("opening a raw socket");
	return fd;
}

static void say(const char *cycle, const char *name, const char *what, int64_t number)
{
	printf("@ %s %s %s %" PRId64 "\n", cycle, name, what, number);
}

/* What is measured whether or not a livepatch is enabled. */
static void probe(const char *cycle, const char *name)
{
	unsigned int i;
	int64_t start;

	if (*cost) {
		write_file(METER "cost", cost);
		read_file(METER "cost");
		say(cycle, name, "call", strtoll(buffer, NULL, 10));
	}
	if (*to_read) {
		start = CPU;
		read_file(to_read);
		say(cycle, name, "read_cpu", CPU - start);
	}
	if (to_open) {
		start = CPU;
		for (i = 0; i < to_open; i++)
			close(raw_socket());
		say(cycle, name, "open_cpu", CPU - start);
	}
}

static void say_callbacks(const char *cycle, const char *name)
{
	char *line, *rest = buffer;

	read_file(METER "callbacks");
	while ((line = strsep(&rest, "\n")) && *line) {
		char what[64], callback[32];
		int64_t ticks, bytes, calls;

		if (sscanf(line, "%31s %" SCNd64 " %" SCNd64 " %" SCNd64, callback, &ticks, &bytes, &calls) != 4)
			die("reading the callbacks");
		snprintf(what, sizeof(what), "%s_ticks", callback);
		say(cycle, name, what, ticks);
		snprintf(what, sizeof(what), "%s_bytes", callback);
		say(cycle, name, what, bytes);
	}
}

static void measure(const char *cycle, const char *name)
{
	int64_t cpu, elapsed, before = others();
	char file[256];

	load(name, 1, &cpu, &elapsed);
	say(cycle, name, "load_cpu", cpu);
	say(cycle, name, "load", ELAPSED - elapsed);
	snprintf(file, sizeof(file), LIVEPATCHES "%s/transition", name);
	while (read_file(file), *buffer != '0')
		wait_a_little();
	say(cycle, name, "complete", ELAPSED - elapsed);
	say(cycle, name, "complete_work", cpu + others() - before);

	probe(cycle, name);

	snprintf(file, sizeof(file), LIVEPATCHES "%s/enabled", name);
	before = others();
	elapsed = ELAPSED;
	cpu = CPU;
	write_file(file, "0");
	cpu = CPU - cpu;
	say(cycle, name, "disable_cpu", cpu);
	snprintf(file, sizeof(file), LIVEPATCHES "%s", name);
	while (!access(file, F_OK))
		wait_a_little();
	say(cycle, name, "gone", ELAPSED - elapsed);
	say(cycle, name, "gone_work", cpu + others() - before);
	say_callbacks(cycle, name);
	while (syscall(SYS_delete_module, name, O_NONBLOCK)) {
		if (errno != EWOULDBLOCK && errno != EBUSY)
			die("unloading %s", name);
		wait_a_little();
	}
}

static void cycle(char *names)
{
	const char *cycle = strsep(&names, " ");
	unsigned int round;

	for (round = 0; round < rounds; round++) {
		char line[512], *rest = line, *name;

		snprintf(line, sizeof(line), "%s", names);
		while ((name = strsep(&rest, " "))) {
			if (strcmp(name, "-"))
				measure(cycle, name);
			else
				probe(cycle, name);
			/* Each finds the same: what the last one left behind a grace period is gone by then. */
			sleep(1);
		}
	}
	fflush(stdout);
}

static void more_sockets(unsigned int wanted)
{
	for (; sockets < wanted; sockets++)
		raw_socket();
}

/* A namespace lives as long as its file is open. */
static void more_namespaces(unsigned int wanted)
{
	int first = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	for (; namespaces < wanted; namespaces++) {
		if (unshare(CLONE_NEWNET) || open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC) < 0)
			die("making namespace %u", namespaces);
		write_file("/proc/sys/net/ipv4/tcp_challenge_ack_limit", "100");
	}
	if (first < 0 || setns(first, CLONE_NEWNET))
		die("going back to the first namespace");
	close(first);
}

int main(void)
{
	const struct rlimit files = { 1 << 17, 1 << 17 };
	char line[1024];

	if (setrlimit(RLIMIT_NOFILE, &files) || mlockall(MCL_CURRENT | MCL_FUTURE))
		die("taking what measuring needs");
	while (fgets(line, sizeof(line), stdin)) {
		char *rest = line, *order;
		int64_t cpu, elapsed;

		line[strcspn(line, "\n")] = 0;
		order = strsep(&rest, " ");
		if (!*order)
			continue;
		if (!rest)
			rest = line + strlen(line);
		if (!strcmp(order, "dir"))
			snprintf(dir, sizeof(dir), "%s", rest);
		else if (!strcmp(order, "module"))
			load(rest, 0, &cpu, &elapsed);
		else if (!strcmp(order, "write")) {
			char *file = strsep(&rest, " ");

			write_file(file, rest ? rest : "");
		} else if (!strcmp(order, "sockets"))
			more_sockets(strtoul(rest, NULL, 10));
		else if (!strcmp(order, "namespaces"))
			more_namespaces(strtoul(rest, NULL, 10));
		else if (!strcmp(order, "cost"))
			snprintf(cost, sizeof(cost), "%s", strcmp(rest, "-") ? rest : "");
		else if (!strcmp(order, "read"))
			snprintf(to_read, sizeof(to_read), "%s", strcmp(rest, "-") ? rest : "");
		else if (!strcmp(order, "open"))
			to_open = strtoul(rest, NULL, 10);
		else if (!strcmp(order, "rounds"))
			rounds = strtoul(rest, NULL, 10);
		else if (!strcmp(order, "cycle"))
			cycle(rest);
		else
			die("the order %s", order);
	}
	return 0;
}
