/* C_SignInit and C_Sign with room for the signature, again and again: what OpenSSL's clients call for each.
 *
 *   signer MODULE TOKEN PIN LABEL MECHANISM INPUT THREADS
 *
 * An empty PIN: no login. MECHANISM is in hexadecimal, d for CKM_RSA_PKCS_PSS over SHA-256; INPUT is in hexadecimal.
 * It says "0" when each thread has signed once; then, for each line with a number of microseconds, how many signatures were
 * made in that time, and the nanoseconds of each, four bytes each. Anything else that it says is what went wrong.
 *
 * Its threads live as long as it does: /proc forgets the processor time of one that has ended. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../functional/c/cryptoki.h"

enum { MOST_THREADS = 16, MOST = 1 << 18, CKU_USER = 1, CKA_LABEL = 3, CKR_USER_ALREADY_LOGGED_IN = 0x100 };
enum { CKM_RSA_PKCS_PSS = 0xd, CKM_SHA256 = 0x250, CKG_MGF1_SHA256 = 2 };

struct thread {
    CK_ULONG session, key;
    unsigned count, *times;
};

static struct function_list *p11;
static struct pss_params pss = {CKM_SHA256, CKG_MGF1_SHA256, 32};
static struct mechanism mechanism;
static unsigned char input[1024];
static CK_ULONG input_length;
static struct thread threads[MOST_THREADS];
static long long end;
static pthread_barrier_t begun, done;

static void fail(const char *what, CK_RV rv) {
    printf("PKCS#11: %s: 0x%lx\n", what, rv);
    exit(1);
}

static void must(const char *what, CK_RV rv) { if (rv != CKR_OK) fail(what, rv); }

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void sign(struct thread *thread) {
    unsigned char signature[1024];
    CK_ULONG length = sizeof signature;
    must("C_SignInit", p11->C_SignInit(thread->session, &mechanism, thread->key));
    must("C_Sign", p11->C_Sign(thread->session, input, input_length, signature, &length));
}

static CK_ULONG slot_of(const char *token) {
    CK_ULONG slots[64], count = 64;
    char label[33];
    snprintf(label, sizeof label, "%-32s", token);
    must("C_GetSlotList", p11->C_GetSlotList(1, slots, &count));
    for (CK_ULONG i = 0; i < count; i++) {
        struct token_info info;
        if (p11->C_GetTokenInfo(slots[i], &info) == CKR_OK && !memcmp(info.label, label, 32)) return slots[i];
    }
    fail("no such token", NO_SLOT);
    return 0;
}

static void open_session(struct thread *thread, CK_ULONG slot, const char *pin, char *label) {
    CK_ULONG class = CKO_PRIVATE_KEY, count = 0;
    struct attribute wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, label, strlen(label)}};
    must("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &thread->session));
    if (*pin) {
        CK_RV rv = p11->C_Login(thread->session, CKU_USER, pin, strlen(pin));
        if (rv != CKR_USER_ALREADY_LOGGED_IN) must("C_Login", rv);
    }
    must("C_FindObjectsInit", p11->C_FindObjectsInit(thread->session, wanted, 2));
    must("C_FindObjects", p11->C_FindObjects(thread->session, &thread->key, 1, &count));
    must("C_FindObjectsFinal", p11->C_FindObjectsFinal(thread->session));
    if (count != 1) fail("no such key", NO_OBJECT);
    thread->times = malloc(MOST * sizeof *thread->times);
    if (!thread->times) fail("no memory", 0);
    sign(thread);
}

static void work(struct thread *thread) {
    long long before = now();
    for (thread->count = 0; before < end && thread->count < MOST; thread->count++) {
        sign(thread);
        long long after = now();
        thread->times[thread->count] = after - before;
        before = after;
    }
}

static void *wait_and_work(void *thread) {
    for (;;) {
        pthread_barrier_wait(&begun);
        work(thread);
        pthread_barrier_wait(&done);
    }
    return NULL;
}

int main(int argc, char **argv) {
    char line[64];
    if (argc != 8) return 2;
    void *library = dlopen(argv[1], RTLD_NOW);
    CK_RV (*list)(struct function_list **) = library ? (CK_RV (*)(struct function_list **))dlsym(library, "C_GetFunctionList") : NULL;
    if (!list) fail("the module cannot be loaded", 0);
    must("C_GetFunctionList", list(&p11));
    struct initialize_args arguments = {.flags = CKF_OS_LOCKING_OK};
    must("C_Initialize", p11->C_Initialize(&arguments));
    mechanism.type = strtoul(argv[5], NULL, 16);
    if (mechanism.type == CKM_RSA_PKCS_PSS) mechanism = (struct mechanism){mechanism.type, &pss, sizeof pss};
    for (const char *hex = argv[6]; sscanf(hex, "%2hhx", &input[input_length]) == 1; hex += 2) input_length++;
    int count = atoi(argv[7]);
    if (count < 1 || count > MOST_THREADS) return 2;
    CK_ULONG slot = slot_of(argv[2]);
    for (int i = 0; i < count; i++) open_session(&threads[i], slot, argv[3], argv[4]);
    pthread_barrier_init(&begun, NULL, count);
    pthread_barrier_init(&done, NULL, count);
    for (int i = 1; i < count; i++) {
        pthread_t id;
        if (pthread_create(&id, NULL, wait_and_work, &threads[i])) fail("no thread", 0);
    }
    printf("0\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        unsigned all = 0;
        end = now() + 1000 * atoll(line);
        pthread_barrier_wait(&begun);
        work(&threads[0]);
        pthread_barrier_wait(&done);
        for (int i = 0; i < count; i++) all += threads[i].count;
        printf("%u\n", all);
        for (int i = 0; i < count; i++) fwrite(threads[i].times, sizeof *threads[i].times, threads[i].count, stdout);
        fflush(stdout);
    }
    p11->C_Finalize(NULL);
    return 0;
}
