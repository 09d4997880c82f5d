/* A PKCS#11 client that does what a script says and writes each result down.
 *
 *   client MODULE REPORT <SCRIPT
 *
 * A line of the script is a command and its words; it adds to the report the line "COMMAND RV" (hexadecimal), then what
 * the call gave. The program itself prints nothing, so anything on its standard output or error is the module's. */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "script.h"

enum { MAX_THREADS = 256 };

static CK_ULONG session, key;

static CK_RV open_session(CK_ULONG *opened) {
    CK_ULONG slots[8], count = 8;
    CK_RV rv = p11->C_GetSlotList(1, slots, &count);
    if (rv != CKR_OK) return rv;
    return count ? p11->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, opened) : NO_SLOT;
}

static CK_RV find_key(CK_ULONG in, const char *id, CK_ULONG *found) {
    unsigned char bytes[64];
    CK_ULONG class = CKO_PRIVATE_KEY, count = 0;
    struct attribute wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_ID, bytes, unhex(id, bytes)}};
    CK_RV rv = p11->C_FindObjectsInit(in, wanted, 2);
    if (rv != CKR_OK) return rv;
    rv = p11->C_FindObjects(in, found, 1, &count);
    p11->C_FindObjectsFinal(in);
    return rv != CKR_OK ? rv : count ? CKR_OK : NO_OBJECT;
}

/* A mechanism in hexadecimal and, for RSA-PSS, the hash's length in bits. */
static CK_RV sign_init(CK_ULONG in, CK_ULONG with, CK_ULONG type, unsigned pss) {
    struct pss_params params = {pss == 256 ? 0x250 : pss == 384 ? 0x260 : 0x270,
                                pss == 256 ? 2 : pss == 384 ? 3 : 4, pss / 8};
    struct mechanism mechanism = {type, pss ? &params : NULL, pss ? sizeof params : 0};
    return p11->C_SignInit(in, &mechanism, with);
}

/* Threads: thread n signs digests n, n + COUNT, … of the script's `digest` lines, in a session of its own. */
static unsigned char digests[MAX_LINES][32];
static int digest_count, thread_count;
static CK_ULONG thread_mechanism;
static char thread_key[65];

static void *sign_all(void *argument) {
    int number = (int)(long)argument;
    CK_ULONG own = 0, with = 0;
    CK_RV rv = open_session(&own);
    if (rv == CKR_OK) rv = find_key(own, thread_key, &with);
    if (rv != CKR_OK) { note("thread %lx", rv); return NULL; }
    for (int i = number; i < digest_count; i += thread_count) {
        unsigned char signature[1024];
        CK_ULONG length = sizeof signature;
        rv = sign_init(own, with, thread_mechanism, 0);
        if (rv == CKR_OK) rv = p11->C_Sign(own, digests[i], 32, signature, &length);
        if (rv == CKR_OK) note("thread 0 %d %s", i, hex(signature, length));
        else note("thread %lx %d", rv, i);
    }
    p11->C_CloseSession(own);
    return NULL;
}

static void run_threads(void) {
    pthread_t threads[MAX_THREADS];
    for (long i = 0; i < thread_count; i++) pthread_create(&threads[i], NULL, sign_all, (void *)i);
    for (int i = 0; i < thread_count; i++) pthread_join(threads[i], NULL);
}

/* kills COUNT KEY MECHANISM: so many processes begin to sign and are killed, AT_ONCE of them at a time, each a moment after one of the
 * STEPS to its first signatures. How many of them had signed. The module is loaded here and initialized in none but them. */
enum { AT_ONCE = 8, STEPS = 5, LONGEST_PAUSE = 300 };

static void sign_until_killed(const char *id, CK_ULONG with, volatile int *step) {
    static const unsigned char digest[32] = {7};
    unsigned char signature[1024];
    CK_ULONG own = 0, found = 0;
    if (p11->C_Initialize(NULL) != CKR_OK) _exit(1);
    *step = 1;
    if (open_session(&own) != CKR_OK) _exit(2);
    *step = 2;
    if (find_key(own, id, &found) != CKR_OK) _exit(3);
    *step = 3;
    for (;;) {
        CK_ULONG length = sizeof signature;
        if (sign_init(own, found, with, 0) != CKR_OK) _exit(4);
        if (p11->C_Sign(own, (unsigned char *)digest, sizeof digest, signature, &length) != CKR_OK) _exit(5);
        *step = STEPS - 1;
    }
}

/* Whether it lived until then. */
static int kill_after(pid_t child, volatile int *step, int last) {
    int status = 0;
    while (*step < last)
        if (waitpid(child, &status, WNOHANG) != 0) return 0;
    usleep(random() % LONGEST_PAUSE);
    kill(child, SIGKILL);
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void kills(int count, const char *id, CK_ULONG with) {
    volatile int *step = mmap(NULL, sizeof(int) * count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int failed = 0, had_signed = 0, status = 0;
    if (step == MAP_FAILED) _exit(97);
    for (int lane = 0; lane < AT_ONCE; lane++) {
        if (fork() != 0) continue;
        srandom(getpid());
        for (int i = lane; i < count; i += AT_ONCE) {
            pid_t child = fork();
            if (child == 0) sign_until_killed(id, with, &step[i]);
            if (child < 0 || !kill_after(child, &step[i], i / AT_ONCE % STEPS)) _exit(1);
        }
        _exit(0);
    }
    for (int lane = 0; lane < AT_ONCE; lane++) failed += wait(&status) < 0 || status != 0;
    for (int i = 0; i < count; i++) had_signed += step[i] == STEPS - 1;
    note("kills %x %d", failed, had_signed);
}

/* Mutex callbacks that count, so that the test can see that what was created is destroyed. */
static int created, destroyed;
static CK_RV create_mutex(void **mutex) {
    *mutex = malloc(sizeof(pthread_mutex_t));
    __sync_fetch_and_add(&created, 1);
    return pthread_mutex_init(*mutex, NULL) ? 5 : CKR_OK;
}
static CK_RV destroy_mutex(void *mutex) {
    pthread_mutex_destroy(mutex);
    free(mutex);
    __sync_fetch_and_add(&destroyed, 1);
    return CKR_OK;
}
static CK_RV lock_mutex(void *mutex) { return pthread_mutex_lock(mutex) ? 5 : CKR_OK; }
static CK_RV unlock_mutex(void *mutex) { return pthread_mutex_unlock(mutex) ? 5 : CKR_OK; }

/* initialize null | none | reserved TEXT | mutexes COUNT FLAGS */
static CK_RV initialize(const char *how, char *first, const char *second) {
    struct initialize_args arguments = {0};
    if (!strcmp(how, "null")) return p11->C_Initialize(NULL);
    if (!strcmp(how, "reserved")) { arguments.flags = CKF_OS_LOCKING_OK; arguments.reserved = first; }
    if (!strcmp(how, "mutexes")) {
        int count = atoi(first);
        if (count > 0) arguments.create = create_mutex;
        if (count > 1) arguments.destroy = destroy_mutex;
        if (count > 2) arguments.lock = lock_mutex;
        if (count > 3) arguments.unlock = unlock_mutex;
        arguments.flags = strtoul(second, NULL, 16);
    }
    return p11->C_Initialize(&arguments);
}

static void finalize_at_exit(void) { p11->C_Finalize(NULL); }

static void attribute_of(CK_ULONG type) {
    unsigned char value[4096];
    struct attribute wanted = {type, NULL, 0};
    CK_RV rv = p11->C_GetAttributeValue(session, key, &wanted, 1);
    if (rv != CKR_OK) { note("attribute %lx %ld", rv, (long)wanted.length); return; }
    wanted.value = value;
    rv = wanted.length > sizeof value ? CKR_BUFFER_TOO_SMALL : p11->C_GetAttributeValue(session, key, &wanted, 1);
    note("attribute %lx %s", rv, hex(value, wanted.length));
}

static int descriptors(void) {
    int count = -1; /* the directory's own */
    DIR *all = opendir("/proc/self/fd");
    if (!all) return -1;
    for (struct dirent *entry; (entry = readdir(all));) count += entry->d_name[0] != '.';
    closedir(all);
    return count;
}

/* limit files COUNT: so many may still be opened; limit memory KIB: so much more than there is now; "-" lifts it again */
static void limit(const char *what, const char *value) {
    int kind = strcmp(what, "files") ? RLIMIT_AS : RLIMIT_NOFILE;
    struct rlimit rlimit;
    unsigned long pages = 0;
    getrlimit(kind, &rlimit);
    if (!strcmp(value, "-")) rlimit.rlim_cur = rlimit.rlim_max;
    else if (kind == RLIMIT_NOFILE) {
        int lowest = dup(0); /* the next number that is free */
        if (lowest < 0) _exit(96);
        close(lowest);
        rlimit.rlim_cur = lowest + atoi(value);
    } else {
        FILE *statm = fopen("/proc/self/statm", "r");
        if (!statm || fscanf(statm, "%lu", &pages) != 1) _exit(95);
        fclose(statm);
        rlimit.rlim_cur = pages * sysconf(_SC_PAGESIZE) + 1024UL * atoi(value);
    }
    note("limit %x", setrlimit(kind, &rlimit));
}

/* A signal each so many microseconds, whose handler interrupts system calls; 0 ends it. */
static volatile sig_atomic_t signals;
static void interrupted(int number) { (void)number; signals++; }
static void storm(int every) {
    struct sigaction action = {.sa_handler = interrupted};
    struct itimerval timer = {{0, every}, {0, every}};
    sigaction(SIGALRM, &action, NULL);
    note("storm %x %d", setitimer(ITIMER_REAL, &timer, NULL), (int)signals);
}

static int step(char *lines[], int at) {
    static unsigned char data[MAX_DATA], out[MAX_DATA];
    char *word[4] = {"", "", "", ""};
    int words = 0;
    for (char *w = strtok(lines[at], " "); w && words < 4; w = strtok(NULL, " ")) word[words++] = w;
    const char *command = word[0];
    CK_ULONG length;
    CK_RV rv;

    if (!strcmp(command, "initialize")) note("initialize %lx", initialize(word[1], word[2], word[3]));
    else if (!strcmp(command, "finalize")) note("finalize %lx", p11->C_Finalize(*word[1] ? word[1] : NULL));
    else if (!strcmp(command, "info")) note("info %lx", p11->C_GetInfo(data));
    else if (!strcmp(command, "slots")) {
        length = 0;
        rv = p11->C_GetSlotList(!strcmp(word[1], "with-token"), NULL, &length);
        note("slots %lx %lu", rv, length);
    } else if (!strcmp(command, "open")) note("open %lx", open_session(&session));
    else if (!strcmp(command, "close")) note("close %lx", p11->C_CloseSession(session));
    else if (!strcmp(command, "find")) note("find %lx", find_key(session, word[1], &key));
    else if (!strcmp(command, "attribute")) attribute_of(strtoul(word[1], NULL, 16));
    else if (!strcmp(command, "random")) {
        rv = p11->C_GenerateRandom(session, data, 32);
        note("random %lx %s", rv, hex(data, 32));
    } else if (!strcmp(command, "sign_init")) {
        note("sign_init %lx", sign_init(session, key, strtoul(word[1], NULL, 16), atoi(word[2])));
    } else if (!strcmp(command, "sign")) { /* sign DATA [ROOM]; ROOM 0: only asks for the length */
        CK_ULONG size = unhex(word[1], data), room = *word[2] ? strtoul(word[2], NULL, 10) : sizeof out;
        length = room;
        rv = p11->C_Sign(session, data, size, room ? out : NULL, &length);
        note("sign %lx %lu %s", rv, length, rv == CKR_OK && room ? hex(out, length) : "");
    } else if (!strcmp(command, "recover")) { /* recover MECHANISM DATA: signs once a rest, until it is done; how often it tried */
        CK_ULONG with = strtoul(word[1], NULL, 16), size = unhex(word[2], data);
        int tries = 0;
        do {
            usleep(300000);
            length = sizeof out;
            rv = sign_init(session, key, with, 0);
            if (rv == CKR_OK) rv = p11->C_Sign(session, data, size, out, &length);
        } while (rv != CKR_OK && ++tries < 20);
        note("recover %lx %d", rv, tries);
    } else if (!strcmp(command, "update")) {
        length = unhex(word[1], data);
        note("update %lx", p11->C_SignUpdate(session, data, length));
    } else if (!strcmp(command, "final")) {
        CK_ULONG room = *word[1] ? strtoul(word[1], NULL, 10) : sizeof out;
        length = room;
        rv = p11->C_SignFinal(session, room ? out : NULL, &length);
        note("final %lx %lu %s", rv, length, rv == CKR_OK && room ? hex(out, length) : "");
    } else if (!strcmp(command, "digest")) unhex(word[1], digests[digest_count++]);
    else if (!strcmp(command, "threads")) { /* threads COUNT KEY MECHANISM */
        thread_count = atoi(word[1]);
        snprintf(thread_key, sizeof thread_key, "%s", word[2]);
        thread_mechanism = strtoul(word[3], NULL, 16);
        run_threads();
    } else if (!strcmp(command, "kills")) kills(atoi(word[1]), word[2], strtoul(word[3], NULL, 16));
    else if (!strcmp(command, "mutexes")) note("mutexes 0 %d %d", created, destroyed);
    else if (!strcmp(command, "atexit")) atexit(finalize_at_exit);
    else if (!strcmp(command, "dlclose")) note("dlclose %x", dlclose(library));
    else if (!strcmp(command, "reload")) note("reload %lx", load(word[1]));
    else if (!strcmp(command, "descriptors")) note("descriptors 0 %d", descriptors());
    else if (!strcmp(command, "limit")) limit(word[1], word[2]);
    else if (!strcmp(command, "storm")) storm(atoi(word[1]));
    else if (!strcmp(command, "pause")) usleep(1000 * atoi(word[1]));
    else if (!strcmp(command, "fork")) { /* the child does the next N lines and exits; the parent waits, and skips them */
        int count = atoi(word[1]), status = 0;
        pid_t child = fork();
        if (child == 0) {
            who = "child:";
            for (int i = at + 1; i <= at + count; i = step(lines, i)) {}
            exit(0);
        }
        waitpid(child, &status, 0);
        note("fork %x", status);
        return at + 1 + count;
    } else { note("unknown %s", command); exit(93); }
    return at + 1;
}

int main(int argc, char **argv) {
    char *lines[MAX_LINES];
    if (argc != 3) return 94;
    begin_report(argv[2]);
    int count = read_script(lines);
    note("load %lx", load(argv[1]));
    for (int at = 0; at < count; at = step(lines, at)) {}
    note("end 0");
    return 0;
}
