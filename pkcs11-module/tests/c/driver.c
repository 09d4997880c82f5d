/* Does what web servers do to a PKCS#11 module that Rust cannot safely do: forks, closes descriptors, unloads, exits.
 *
 * driver MODULE CONFIG SCENARIO. Says nothing and exits with 0 if all went as it must. It includes no Cryptoki header: a table is a
 * version and 68 functions in the order of the standard. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

typedef unsigned long ulong_;
typedef ulong_ (*function)();
struct table {
	unsigned char major, minor;
	function f[68];
};
enum {
	INITIALIZE = 0, FINALIZE = 1, GET_SLOT_LIST = 4, GET_SLOT_INFO = 5, GET_TOKEN_INFO = 6, OPEN_SESSION = 12, CLOSE_SESSION = 13,
	GET_SESSION_INFO = 15, LOGIN = 18, DESTROY_OBJECT = 22, GET_ATTRIBUTE_VALUE = 24, FIND_INIT = 26, FIND = 27, FIND_FINAL = 28,
	SIGN_INIT = 42, SIGN = 43, SIGN_UPDATE = 44, SIGN_FINAL = 45, GENERATE_RANDOM = 64,
};
struct attribute {
	ulong_ type;
	void *value;
	ulong_ length;
};
struct mechanism {
	ulong_ type;
	void *parameter;
	ulong_ length;
};
struct initialize_args {
	void *create, *destroy, *lock, *unlock;
	ulong_ flags;
	void *reserved;
};

#define SERIAL 4UL
#define ECDSA_SHA256 0x1044UL
#define OK 0UL
#define HOST_MEMORY 2UL
#define ARGUMENTS_BAD 7UL
#define TOKEN_NOT_PRESENT 0xe0UL
#define TOKEN_WRITE_PROTECTED 0xe2UL
#define NOT_INITIALIZED 0x190UL
#define ALREADY_INITIALIZED 0x191UL

#define EXPECT(got, want) expect(__LINE__, #got, (got), (want))
#define EXPECT_TRUE(got) expect(__LINE__, #got, !!(got), 1)

static struct table *module;
static char reserved[512];

static void expect(int line, const char *what, ulong_ got, ulong_ want)
{
	if (got != want) {
		fprintf(stderr, "driver.c:%d: %s is %#lx, not %#lx (pid %d)\n", line, what, got, want, getpid());
		_exit(1);
	}
}

static void *load(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	function get = (function)dlsym(library, "C_GetFunctionList");
	EXPECT_TRUE(get != NULL);
	EXPECT(get(&module), OK);
	EXPECT(module->major, 2);
	EXPECT(module->minor, 40);
	return library;
}

static ulong_ initialize(void)
{
	struct initialize_args args = { .flags = 2, .reserved = reserved };
	return module->f[INITIALIZE](&args);
}

static ulong_ open_session(void)
{
	ulong_ session = 0;
	EXPECT(module->f[OPEN_SESSION](1UL, SERIAL, NULL, NULL, &session), OK);
	return session;
}

static ulong_ find_key(ulong_ session)
{
	ulong_ class = 3, key = 0, count = 0;
	struct attribute template = { 0, &class, sizeof class };
	EXPECT(module->f[FIND_INIT](session, &template, 1UL), OK);
	EXPECT(module->f[FIND](session, &key, 1UL, &count), OK);
	EXPECT(module->f[FIND_FINAL](session), OK);
	EXPECT(count, 1);
	return key;
}

static ulong_ sign(ulong_ session, ulong_ key)
{
	struct mechanism mechanism = { ECDSA_SHA256, NULL, 0 };
	unsigned char signature[64];
	ulong_ length = 0;
	ulong_ rv = module->f[SIGN_INIT](session, &mechanism, key);
	if (rv != OK)
		return rv;
	EXPECT(module->f[SIGN](session, "data", 4UL, NULL, &length), OK);
	EXPECT(length, 64);
	return module->f[SIGN](session, "data", 4UL, signature, &length);
}

/* Which socket it was that `sockets` saw last. */
static ino_t last_socket;

/* Counts the sockets among this process's descriptors. */
static int sockets(void)
{
	int count = 0;
	DIR *directory = opendir("/proc/self/fd");
	for (struct dirent *entry; (entry = readdir(directory));) {
		struct stat status;
		if (fstat(atoi(entry->d_name), &status) == 0 && S_ISSOCK(status.st_mode)) {
			last_socket = status.st_ino;
			count++;
		}
	}
	closedir(directory);
	return count;
}

static void join(pid_t child)
{
	int status = 0;
	EXPECT_TRUE(child > 0);
	EXPECT(waitpid(child, &status, 0), child);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT(WEXITSTATUS(status), 0);
}

/* In a child: nothing works, then both ways of starting anew do. */
static void be_a_worker(int finalize_first, ulong_ old_session, ulong_ key)
{
	unsigned char byte;
	ulong_ count = 0, session;
	EXPECT(sign(old_session, key), NOT_INITIALIZED);
	EXPECT(module->f[GET_SLOT_LIST](0, NULL, &count), NOT_INITIALIZED);
	EXPECT(module->f[GENERATE_RANDOM](old_session, &byte, 1UL), NOT_INITIALIZED);
	EXPECT(module->f[CLOSE_SESSION](old_session), NOT_INITIALIZED);
	if (finalize_first) {
		EXPECT(module->f[FINALIZE](NULL), OK);
		EXPECT(sockets(), 0);
		EXPECT(module->f[FINALIZE](NULL), NOT_INITIALIZED);
	}
	EXPECT(initialize(), OK);
	EXPECT(sockets(), 0);
	session = open_session();
	/* A handle means the same key in every process, even before it is looked for again. */
	EXPECT(sign(session, key), OK);
	EXPECT(find_key(session), key);
	EXPECT(sockets(), 1);
}

static void scenario_fork(void)
{
	EXPECT(initialize(), OK);
	ulong_ session = open_session(), key = find_key(session);
	EXPECT(sign(session, key), OK);
	EXPECT(sockets(), 1);
	for (int finalize_first = 0; finalize_first < 2; finalize_first++) {
		pid_t child = fork();
		if (child == 0) {
			be_a_worker(finalize_first, session, key);
			/* And a child of the child: daemon() forks before workers do. */
			ulong_ second = open_session();
			pid_t grandchild = fork();
			if (grandchild == 0) {
				be_a_worker(!finalize_first, second, key);
				exit(0);
			}
			join(grandchild);
			EXPECT(sign(second, key), OK);
			exit(0);
		}
		join(child);
		/* On the connection that it had: the children only closed their copies. */
		EXPECT(sign(session, key), OK);
	}
	EXPECT(module->f[FINALIZE](NULL), OK);
	EXPECT(sockets(), 0);
}

static volatile int stop;

static void *sign_on(void *unused)
{
	(void)unused;
	ulong_ session = open_session(), key = find_key(session);
	while (!stop)
		sign(session, key);
	return NULL;
}

/* Forks while every lock of the module is taken and let go by other threads. */
static void scenario_fork_busy(void)
{
	pthread_t threads[8];
	EXPECT(initialize(), OK);
	ulong_ session = open_session(), key = find_key(session);
	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, sign_on, NULL);
	for (int round = 0; round < 60; round++) {
		pid_t child = fork();
		if (child == 0) {
			alarm(20);
			be_a_worker(round % 2, session, key);
			_exit(0);
		}
		join(child);
	}
	stop = 1;
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	EXPECT(sign(session, key), OK);
}

/* A child that can reach no file any more, as after a change of root. */
static void scenario_no_files(void)
{
	EXPECT(initialize(), OK);
	ulong_ session = open_session(), key = find_key(session);
	EXPECT(unlink(strchr(reserved, '=') + 1), 0);
	pid_t child = fork();
	if (child == 0) {
		be_a_worker(1, session, key);
		EXPECT(module->f[FINALIZE](NULL), OK);
		EXPECT(module->f[INITIALIZE](NULL), OK);
		EXPECT(sign(open_session(), key), OK);
		exit(0);
	}
	join(child);
}

/* A child that closes every descriptor and opens its own: those must stay. */
static void scenario_closed_descriptors(void)
{
	EXPECT(initialize(), OK);
	ulong_ session = open_session(), key = find_key(session);
	pid_t child = fork();
	if (child == 0) {
		for (int number = 3; number < 100; number++)
			close(number);
		for (int number = 3; number < 60; number++)
			EXPECT(open("/dev/null", O_RDONLY), number);
		be_a_worker(1, session, key);
		for (int number = 3; number < 60; number++) {
			struct stat status;
			EXPECT(fstat(number, &status), 0);
			EXPECT_TRUE(S_ISCHR(status.st_mode));
		}
		exit(0);
	}
	join(child);
}

/* The host closes the module's descriptor and opens its own under the number: that one stays. */
static void scenario_reused_descriptor(void)
{
	struct stat status;
	int number = 3;
	EXPECT(initialize(), OK);
	ulong_ session = open_session(), key = find_key(session);
	EXPECT(sign(session, key), OK);
	while (fstat(number, &status) != 0 || !S_ISSOCK(status.st_mode))
		number++;
	int mine = open("/dev/null", O_RDWR);
	EXPECT(dup2(mine, number), number);
	EXPECT(sign(session, key), OK);
	EXPECT(fstat(number, &status), 0);
	EXPECT_TRUE(S_ISCHR(status.st_mode));
	EXPECT(module->f[FINALIZE](NULL), OK);
	EXPECT(sockets(), 0);
	EXPECT(fstat(number, &status), 0);
}

/* The standard streams are closed: their numbers are not taken. */
static void scenario_no_streams(void)
{
	close(0);
	close(1);
	EXPECT(initialize(), OK);
	ulong_ session = open_session(), key = find_key(session);
	EXPECT(sign(session, key), OK);
	EXPECT(open("/dev/null", O_RDWR), 0);
	EXPECT(open("/dev/null", O_RDWR), 1);
	EXPECT(sign(session, key), OK);
}

/* How many more descriptors this process may open; none is a limit of more. */
static void may_open(int more)
{
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	int lowest = dup(0);
	close(lowest);
	limit.rlim_cur = more < 0 ? limit.rlim_max : (rlim_t)(lowest + more);
	EXPECT(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static ulong_ tokens(void)
{
	ulong_ count = 9;
	EXPECT(module->f[GET_SLOT_LIST](1, NULL, &count), OK);
	return count;
}

static void has_all(void)
{
	unsigned char info[512];
	EXPECT(tokens(), 1);
	EXPECT(module->f[GET_TOKEN_INFO](1UL, info), OK);
	ulong_ session = open_session();
	EXPECT(sign(session, find_key(session)), OK);
}

/* Initialised when it can open nothing, or too little: it has all as soon as it can. */
static void scenario_no_descriptors(void)
{
	ulong_ session;
	for (int more = 0; more < 5; more++) {
		pid_t child = fork();
		if (child == 0) {
			may_open(more);
			EXPECT(initialize(), OK);
			if (more == 0)
				EXPECT(module->f[OPEN_SESSION](1UL, SERIAL, NULL, NULL, &session), TOKEN_NOT_PRESENT);
			may_open(-1);
			has_all();
			exit(0);
		}
		join(child);
	}
}

/* Configuration and credential come after C_Initialize. */
static void scenario_late(void)
{
	char away[600], credential[600];
	const char *config = strchr(reserved, '=') + 1;
	snprintf(credential, sizeof credential, "%.*scredential", (int)(strrchr(config, '/') - config + 1), config);
	const char *files[] = { config, credential };
	for (int i = 0; i < 2; i++) {
		pid_t child = fork();
		if (child == 0) {
			snprintf(away, sizeof away, "%s.away", files[i]);
			EXPECT(rename(files[i], away), 0);
			EXPECT(initialize(), OK);
			EXPECT(tokens(), 0);
			EXPECT(rename(away, files[i]), 0);
			has_all();
			exit(0);
		}
		join(child);
	}
}

/* The room that this process's addresses may still take. */
static void may_have(unsigned long bytes)
{
	struct rlimit limit;
	unsigned long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "r");
	EXPECT(fscanf(statm, "%lu", &pages), 1);
	fclose(statm);
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = pages * sysconf(_SC_PAGESIZE) + bytes;
	EXPECT(setrlimit(RLIMIT_AS, &limit), 0);
}

/* Takes all memory but a few small pieces, and a stack. */
static void *take_memory(void)
{
	char stack[256 << 10];
	void *small[256], *taken = NULL;
	explicit_bzero(stack, sizeof stack);
	for (int i = 0; i < 256; i++)
		small[i] = malloc(1000);
	for (size_t size = 1 << 20; size >= 1200; size = size * 3 / 4)
		for (void **next; (next = malloc(size)); taken = next)
			*next = taken;
	for (int i = 0; i < 256; i += 2)
		free(small[i]);
	return taken;
}

static void give_memory_back(void *taken)
{
	for (void *next; taken; taken = next) {
		next = *(void **)taken;
		free(taken);
	}
}

/* No memory for what others choose the length of: a file, a message, a template, a reply. */
static void scenario_no_memory(void)
{
	static unsigned char message[16384], label[] = "api";
	static struct attribute template[4096];
	struct mechanism mechanism = { ECDSA_SHA256, NULL, 0 };
	for (int i = 0; i < 4096; i++)
		template[i] = (struct attribute){ 3, label, 3 };
	may_have(32 << 20);
	EXPECT(initialize(), OK);
	ulong_ key = find_key(open_session());
	EXPECT(module->f[FINALIZE](NULL), OK);
	/* On a connection that has had no long reply. */
	EXPECT(initialize(), OK);
	ulong_ session = open_session();
	EXPECT(sign(session, key), OK);
	EXPECT(module->f[SIGN_INIT](session, &mechanism, key), OK);
	may_have(1 << 20);
	void *taken = take_memory();
	unsigned char signature[64];
	ulong_ length = sizeof signature;
	EXPECT(module->f[SIGN](session, message, (ulong_)sizeof message, signature, &length), HOST_MEMORY);
	EXPECT(module->f[SIGN_INIT](session, &mechanism, key), OK);
	EXPECT(module->f[SIGN_UPDATE](session, message, sizeof message), HOST_MEMORY);
	EXPECT(module->f[FIND_INIT](session, template, 4096UL), HOST_MEMORY);
	EXPECT(module->f[FIND_INIT](session, template, 1UL), HOST_MEMORY);
	give_memory_back(taken);
	EXPECT(sockets(), 0);
	EXPECT(sign(session, key), OK);
	EXPECT(find_key(session), key);
}

static ulong_ mutex(void *unused)
{
	(void)unused;
	return OK;
}

static void scenario_arguments(void)
{
	struct initialize_args callbacks = { mutex, mutex, mutex, mutex, 0, reserved };
	struct initialize_args partial = { mutex, NULL, mutex, mutex, 0, reserved };
	struct initialize_args odd = { .flags = 2, .reserved = "slots=4" };
	ulong_ count = 0;
	EXPECT(module->f[GET_SLOT_LIST](0, NULL, &count), NOT_INITIALIZED);
	EXPECT(module->f[FINALIZE](NULL), NOT_INITIALIZED);
	EXPECT(module->f[INITIALIZE](&partial), ARGUMENTS_BAD);
	EXPECT(module->f[INITIALIZE](&odd), ARGUMENTS_BAD);
	EXPECT(module->f[INITIALIZE](&callbacks), OK);
	EXPECT(initialize(), ALREADY_INITIALIZED);
	EXPECT(module->f[INITIALIZE](NULL), ALREADY_INITIALIZED);
	EXPECT(sign(open_session(), find_key(open_session())), OK);
	EXPECT(module->f[FINALIZE](&count), ARGUMENTS_BAD);
	EXPECT(module->f[FINALIZE](NULL), OK);
	EXPECT(module->f[FINALIZE](NULL), NOT_INITIALIZED);
	EXPECT(initialize(), OK);
	EXPECT(sign(open_session(), find_key(open_session())), OK);
}

/* The configuration is named by the environment, or is the usual one. */
static void scenario_null(void)
{
	EXPECT(module->f[INITIALIZE](NULL), OK);
	EXPECT(sign(open_session(), find_key(open_session())), OK);
}

static void has_no_token(void)
{
	unsigned char info[512];
	ulong_ count = 9, session;
	EXPECT(module->f[GET_SLOT_LIST](1, NULL, &count), OK);
	EXPECT(count, 0);
	EXPECT(module->f[GET_SLOT_LIST](0, NULL, &count), OK);
	EXPECT(count, 1);
	EXPECT(module->f[GET_SLOT_INFO](1UL, info), OK);
	EXPECT(module->f[GET_TOKEN_INFO](1UL, info), TOKEN_NOT_PRESENT);
	EXPECT(module->f[OPEN_SESSION](1UL, SERIAL, NULL, NULL, &session), TOKEN_NOT_PRESENT);
	EXPECT(sockets(), 0);
	EXPECT(module->f[FINALIZE](NULL), OK);
}

static void scenario_unconfigured(void)
{
	EXPECT(initialize(), OK);
	has_no_token();
}

static void scenario_null_unconfigured(void)
{
	EXPECT(module->f[INITIALIZE](NULL), OK);
	has_no_token();
}

static void scenario_malformed(void)
{
	EXPECT(initialize(), ARGUMENTS_BAD);
	EXPECT(module->f[FINALIZE](NULL), NOT_INITIALIZED);
}

static ulong_ last_session, last_key;

static void at_exit(void)
{
	EXPECT(sign(last_session, last_key), OK);
	EXPECT(module->f[DESTROY_OBJECT](last_session, last_key), TOKEN_WRITE_PROTECTED);
	EXPECT(module->f[CLOSE_SESSION](last_session), OK);
	EXPECT(module->f[FINALIZE](NULL), OK);
	EXPECT(module->f[DESTROY_OBJECT](last_session, last_key), NOT_INITIALIZED);
	EXPECT(module->f[FINALIZE](NULL), NOT_INITIALIZED);
}

static void scenario_at_exit(void)
{
	atexit(at_exit);
	EXPECT(initialize(), OK);
	last_session = open_session();
	last_key = find_key(last_session);
}

static void scenario_exit_at_once(void)
{
	EXPECT(initialize(), OK);
	ulong_ session = open_session();
	EXPECT(sign(session, find_key(session)), OK);
}

static void *sign_once(void *unused)
{
	(void)unused;
	ulong_ session = open_session();
	EXPECT(sign(session, find_key(session)), OK);
	return NULL;
}

/* Threads that outlive the module: whatever they left in it must not be called when they end. */
static void *wait_for_stop(void *unused)
{
	sign_once(unused);
	while (!stop)
		usleep(1000);
	return NULL;
}

static void scenario_unload(const char *path)
{
	pthread_t thread;
	for (int round = 0; round < 20; round++) {
		void *library = load(path);
		EXPECT(initialize(), OK);
		sign_once(NULL);
		if (round == 0) {
			pthread_create(&thread, NULL, wait_for_stop, NULL);
			usleep(200000);
		}
		EXPECT(module->f[FINALIZE](NULL), OK);
		EXPECT(dlclose(library), 0);
		/* Gone, though a thread that used it lives: it would be kept for the destructor of a thread-local. */
		EXPECT_TRUE(dlopen(path, RTLD_NOW | RTLD_NOLOAD) == NULL);
	}
	EXPECT(sockets(), 0);
	stop = 1;
	pthread_join(thread, NULL);
}

static int descriptors(void)
{
	int count = 0;
	DIR *directory = opendir("/proc/self/fd");
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* Loaded, used and unloaded, after C_Finalize or without: each time all is closed, and what stays is small. */
static void scenario_load_again(const char *path)
{
	int open_before = descriptors();
	size_t used_before = 0;
	for (int round = 0; round < 220; round++) {
		void *library = load(path);
		EXPECT(initialize(), OK);
		sign_once(NULL);
		if (round % 2 == 0)
			EXPECT(module->f[FINALIZE](NULL), OK);
		EXPECT(dlclose(library), 0);
		EXPECT(descriptors(), open_before);
		if (round == 19)
			used_before = mallinfo2().uordblks;
	}
	EXPECT_TRUE(mallinfo2().uordblks < used_before + 200 * 6144);
}

static void exit_now(int signal)
{
	(void)signal;
	exit(0);
}

/* As a server's child does that is told to end while it allocates: the allocator's lock is held, so nothing may be freed. */
static void scenario_exit_in_handler(void)
{
	struct itimerval soon = { { 0, 0 }, { 0, 3000 } };
	pthread_t thread;
	signal(SIGPROF, exit_now);
	for (int round = 0; round < 20; round++) {
		pid_t child = fork();
		if (child == 0) {
			alarm(20);
			EXPECT(initialize(), OK);
			last_session = open_session();
			EXPECT(sign(last_session, find_key(last_session)), OK);
			pthread_create(&thread, NULL, wait_for_stop, NULL);
			setitimer(ITIMER_PROF, &soon, NULL);
			for (;;)
				free(malloc(100000 + rand() % 100000));
		}
		join(child);
	}
}

/* Until the process has exited, during which the module may have ended. */
static void *sign_until_the_end(void *unused)
{
	(void)unused;
	struct mechanism mechanism = { ECDSA_SHA256, NULL, 0 };
	unsigned char signature[64];
	for (;;) {
		ulong_ length = sizeof signature;
		ulong_ rv = module->f[SIGN_INIT](last_session, &mechanism, last_key);
		if (rv == OK)
			rv = module->f[SIGN](last_session, "data", 4UL, signature, &length);
		if (rv != OK)
			EXPECT(rv, NOT_INITIALIZED);
	}
}

/* Exits while a thread signs, and of a child that never called, which leaves alone what is its parent's: its connection goes on. */
static void scenario_exit_busy(void)
{
	pthread_t thread;
	EXPECT(initialize(), OK);
	ulong_ session = open_session(), key = find_key(session);
	EXPECT(sockets(), 1);
	ino_t connection = last_socket;
	for (int round = 0; round < 40; round++) {
		pid_t child = fork();
		if (child == 0) {
			alarm(20);
			if (round % 2 == 0) {
				EXPECT(initialize(), OK);
				last_session = open_session();
				last_key = key;
				pthread_create(&thread, NULL, sign_until_the_end, NULL);
				usleep(1000 * round);
			}
			exit(0);
		}
		join(child);
		EXPECT(sign(session, key), OK);
		EXPECT(sockets(), 1);
		EXPECT_TRUE(last_socket == connection);
	}
}

static int calls_cancelled;

/* Cancelled before it calls: every place where that can strike is one where it would. */
static void *call_cancelled(void *unused)
{
	(void)unused;
	pthread_cancel(pthread_self());
	EXPECT(initialize(), OK);
	ulong_ session = open_session();
	EXPECT(sign(session, find_key(session)), OK);
	EXPECT(module->f[FINALIZE](NULL), OK);
	calls_cancelled++;
	pthread_testcancel();
	return NULL;
}

static void scenario_cancel(void)
{
	pthread_t thread;
	void *result;
	int state;
	EXPECT(pthread_create(&thread, NULL, call_cancelled, NULL), 0);
	EXPECT(pthread_join(thread, &result), 0);
	EXPECT_TRUE(result == PTHREAD_CANCELED);
	EXPECT(calls_cancelled, 1);
	/* A thread that cannot be cancelled is not made one that can. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	EXPECT(initialize(), OK);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
	EXPECT(state, PTHREAD_CANCEL_DISABLE);
	ulong_ session = open_session();
	EXPECT(sign(session, find_key(session)), OK);
}

static void *sign_often(void *key)
{
	for (int round = 0; round < 10; round++) {
		ulong_ session = open_session();
		for (int i = 0; i < 10; i++)
			EXPECT(sign(session, (ulong_)key), OK);
		EXPECT(module->f[CLOSE_SESSION](session), OK);
	}
	return NULL;
}

static void scenario_threads(void)
{
	pthread_t threads[64];
	EXPECT(initialize(), OK);
	ulong_ key = find_key(open_session());
	for (int i = 0; i < 64; i++)
		pthread_create(&threads[i], NULL, sign_often, (void *)key);
	for (int i = 0; i < 64; i++)
		pthread_join(threads[i], NULL);
	EXPECT_TRUE(sockets() <= 16);
}

static volatile long signals;
static const char *after_fifty;

static void on_alarm(int signal)
{
	(void)signal;
	if (++signals == 50 && after_fifty)
		close(creat(after_fifty, 0600));
}

static void begin_storm(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval every = { { 0, 500 }, { 0, 500 } };
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

static void scenario_signals(void)
{
	EXPECT(initialize(), OK);
	ulong_ session = open_session(), key = find_key(session);
	begin_storm();
	/* The service takes 2 ms for each, so every call is interrupted. */
	for (int i = 0; i < 200; i++)
		EXPECT(sign(session, key), OK);
	EXPECT_TRUE(signals > 200);
}

/* The service takes the connection when it sees the file. */
static void scenario_signals_connecting(void)
{
	after_fifty = getenv("AFTER_FIFTY");
	EXPECT(initialize(), OK);
	ulong_ session = open_session();
	begin_storm();
	EXPECT(sign(session, find_key(session)), OK);
	EXPECT_TRUE(signals >= 50);
}

static int entries(const char *path)
{
	int count = 0;
	DIR *directory = opendir(path);
	for (struct dirent *entry; (entry = readdir(directory));)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

/* The service closes the connection after each reply, so that each request is first sent to no one. */
static void scenario_leave_alone(void)
{
	struct sigaction before[65], after;
	memset(before, 0, sizeof before);
	for (int signal = 1; signal <= 64; signal++)
		sigaction(signal, NULL, &before[signal]);
	EXPECT(initialize(), OK);
	ulong_ session = open_session(), key = find_key(session);
	for (int i = 0; i < 20; i++) {
		usleep(5000);
		EXPECT(sign(session, key), OK);
	}
	for (int signal = 1; signal <= 64; signal++) {
		memset(&after, 0, sizeof after);
		sigaction(signal, NULL, &after);
		EXPECT_TRUE(memcmp(&before[signal].sa_handler, &after.sa_handler, sizeof after.sa_handler) == 0);
	}
	EXPECT(entries("/proc/self/task"), 1);
}

/* Between two marks nothing but signatures. The parent of this process traces it. */
static void scenario_steady(void)
{
	EXPECT(initialize(), OK);
	ulong_ session = open_session(), key = find_key(session);
	EXPECT(sign(session, key), OK);
	EXPECT(chdir("/mark"), -1UL);
	for (int i = 0; i < 10; i++)
		EXPECT(sign(session, key), OK);
	EXPECT(chdir("/mark"), -1UL);
}

/* All that the token says of an object, attribute by attribute, in hexadecimal. */
static void say_attributes(ulong_ session, ulong_ object)
{
	static const ulong_ kinds[] = {
		0x0 /* class */, 0x3 /* label */, 0x11 /* value */, 0x81 /* issuer */, 0x82 /* serial */, 0x100 /* key type */,
		0x101 /* subject */, 0x102 /* id */, 0x108 /* sign */, 0x180 /* EC parameters */, 0x181 /* EC point */,
		0x129 /* public key info */, 0x40000600 /* allowed mechanisms */,
	};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		unsigned char value[2048];
		struct attribute attribute = { kinds[i], value, sizeof value };
		printf(" %lx:", module->f[GET_ATTRIBUTE_VALUE](session, object, &attribute, 1UL));
		for (ulong_ at = 0; attribute.length != (ulong_)-1 && at < attribute.length; at++)
			printf("%02x", value[at]);
	}
}

/* Says the handles of what has these attributes, behind the code of the search. */
static void say_found(ulong_ session, struct attribute *template, ulong_ attributes)
{
	ulong_ found[64], count = 0;
	ulong_ rv = module->f[FIND_INIT](session, template, attributes);
	printf(" %lx", rv);
	if (rv != OK)
		return;
	EXPECT(module->f[FIND](session, found, 64UL, &count), OK);
	EXPECT(module->f[FIND_FINAL](session), OK);
	for (ulong_ i = 0; i < count; i++)
		printf(" %lu", found[i]);
}

/* All objects, or the private keys of a label. */
static void say_labelled(ulong_ session, const char *label)
{
	ulong_ class = 3;
	struct attribute template[] = { { 0, &class, sizeof class }, { 3, (void *)label, strlen(label) } };
	say_found(session, template, *label ? 2UL : 0UL);
}

/* The objects of a class and of an id, which is given in hexadecimal. */
static void say_identified(ulong_ session, ulong_ class, const char *text)
{
	unsigned char id[32] = { 0 };
	for (size_t i = 0; i < sizeof id; i++)
		sscanf(text + 2 * i, "%2hhx", &id[i]);
	struct attribute template[] = { { 0, &class, sizeof class }, { 0x102, id, sizeof id } };
	say_found(session, template, 2UL);
}

/* Does what is read, a word and an argument a line, and says what came of it. The one scenario that speaks. */
static void scenario_obey(void)
{
	char line[256], word[16], argument[224];
	ulong_ session = 0;
	while (fgets(line, sizeof line, stdin)) {
		argument[0] = 0;
		if (sscanf(line, "%15s %223s", word, argument) < 1)
			continue;
		ulong_ object = strtoul(argument, NULL, 10);
		printf("%s", word);
		if (strcmp(word, "initialize") == 0) {
			printf(" %lx", initialize());
			session = open_session();
		} else if (strcmp(word, "finalize") == 0) {
			printf(" %lx", module->f[FINALIZE](NULL));
		} else if (strcmp(word, "token") == 0) {
			ulong_ count = 0;
			printf(" %lx", module->f[GET_SLOT_LIST](1, NULL, &count));
			printf(" %lu", count);
		} else if (strcmp(word, "find") == 0) {
			say_labelled(session, argument);
		} else if (strcmp(word, "key") == 0) {
			say_identified(session, 3, argument);
		} else if (strcmp(word, "certificate") == 0) {
			say_identified(session, 1, argument);
		} else if (strcmp(word, "attributes") == 0) {
			say_attributes(session, object);
		} else if (strcmp(word, "sign") == 0) {
			printf(" %lx", sign(session, object));
		} else if (strcmp(word, "jail") == 0) {
			EXPECT(chroot(argument), 0);
			EXPECT(chdir("/"), 0);
			EXPECT(setuid(65534), 0);
		} else if (strcmp(word, "fork") == 0) {
			/* The child goes on; the parent waits for its end. */
			fflush(stdout);
			pid_t child = fork();
			if (child != 0) {
				join(child);
				return;
			}
		} else {
			_exit(2);
		}
		printf("\n");
		fflush(stdout);
	}
}

int main(int count, char **arguments)
{
	if (count != 4)
		return 2;
	snprintf(reserved, sizeof reserved, "config=%s", arguments[2]);
	const char *name = arguments[3];
	if (strcmp(name, "unload") == 0) {
		scenario_unload(arguments[1]);
		return 0;
	}
	if (strcmp(name, "load-again") == 0) {
		scenario_load_again(arguments[1]);
		return 0;
	}
	load(arguments[1]);
	static const struct {
		const char *name;
		void (*run)(void);
	} scenarios[] = {
		{ "fork", scenario_fork }, { "fork-busy", scenario_fork_busy }, { "no-files", scenario_no_files },
		{ "closed-descriptors", scenario_closed_descriptors }, { "no-streams", scenario_no_streams },
		{ "reused-descriptor", scenario_reused_descriptor },
		{ "arguments", scenario_arguments }, { "null", scenario_null }, { "unconfigured", scenario_unconfigured },
		{ "null-unconfigured", scenario_null_unconfigured },
		{ "malformed", scenario_malformed }, { "at-exit", scenario_at_exit }, { "exit-at-once", scenario_exit_at_once },
		{ "threads", scenario_threads }, { "signals", scenario_signals },
		{ "signals-connecting", scenario_signals_connecting }, { "leave-alone", scenario_leave_alone },
		{ "steady", scenario_steady }, { "no-descriptors", scenario_no_descriptors }, { "late", scenario_late }, { "no-memory", scenario_no_memory }, { "cancel", scenario_cancel }, { "exit-busy", scenario_exit_busy }, { "exit-in-handler", scenario_exit_in_handler }, { "obey", scenario_obey },
	};
	for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
		if (strcmp(name, scenarios[i].name) == 0) {
			scenarios[i].run();
			return 0;
		}
	return 2;
}
