/* Makes the calls of a script on a PKCS#11 module and says what each came to in words that do not depend on the module: names of
 * results, counts, values of attributes. No handles; signatures only where they are the same each time.
 *
 *   differential MODULE TOKEN REPORT <SCRIPT
 *
 * Line N of the script adds "N RESULT …" to the report. Sessions and objects have names of a script's own; a number is a handle as it is,
 * and what was never opened or found is the handle 0. */
#include <sys/wait.h>

#include "names.h"
#include "script.h"

enum { MAX_WORDS = 24, MAX_HANDLES = 32, USER = 1 };

static CK_ULONG slot;
static char token[33];
static char *word[MAX_WORDS];
static int words, line;

static void said(CK_RV rv, const char *format, ...) {
    static char more[2 * MAX_DATA + 64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(more, sizeof more, format, arguments);
    va_end(arguments);
    note("%d %s%s%s", line, name_of(RESULTS, rv), *more ? " " : "", more);
}

/* The handle of a name: to read, or to be set. */
static CK_ULONG *handle(const char *name) {
    static struct { char name[16]; CK_ULONG value; } handles[MAX_HANDLES];
    static CK_ULONG number;
    if (*name >= '0' && *name <= '9') { number = strtoul(name, NULL, 0); return &number; }
    for (int i = 0; i < MAX_HANDLES; i++) {
        if (!*handles[i].name) snprintf(handles[i].name, sizeof handles[i].name, "%s", name);
        if (!strcmp(handles[i].name, name)) return &handles[i].value;
    }
    _exit(98);
}

static CK_ULONG object(void) { return *handle(word[2]); }

static CK_RV find_slot(void) {
    CK_ULONG slots[8], count = 8;
    CK_RV rv = p11->C_GetSlotList(1, slots, &count);
    for (CK_ULONG i = 0; rv == CKR_OK && i < count; i++) {
        struct token_info info;
        if (p11->C_GetTokenInfo(slots[i], &info) == CKR_OK && !memcmp(info.label, token, 32)) { slot = slots[i]; return CKR_OK; }
    }
    return rv == CKR_OK ? NO_SLOT : rv;
}

static CK_ULONG slot_of(const char *text) { return *text && strcmp(text, "token") ? strtoul(text, NULL, 0) : slot; }

static CK_RV create_mutex(void **mutex) { return (*mutex = malloc(1)) ? CKR_OK : 0x2; }
static CK_RV destroy_mutex(void *mutex) { free(mutex); return CKR_OK; }
static CK_RV callback(void *mutex) { (void)mutex; return CKR_OK; }

/* initialize null | none | os | reserved TEXT | mutexes COUNT FLAGS */
static CK_RV initialize(void) {
    struct initialize_args arguments = {0};
    int count = !strcmp(word[1], "mutexes") ? atoi(word[2]) : 0;
    if (!strcmp(word[1], "os") || !strcmp(word[1], "reserved")) arguments.flags = CKF_OS_LOCKING_OK;
    if (!strcmp(word[1], "reserved")) arguments.reserved = word[2];
    if (count) arguments.flags = strtoul(word[3], NULL, 0);
    if (count > 0) arguments.create = create_mutex;
    if (count > 1) arguments.destroy = destroy_mutex;
    if (count > 2) arguments.lock = callback;
    if (count > 3) arguments.unlock = callback;
    CK_RV rv = p11->C_Initialize(strcmp(word[1], "null") ? &arguments : NULL);
    if (rv == CKR_OK) find_slot();
    return rv;
}

static CK_RV open_session(const char *name, const char *how, CK_ULONG in) {
    CK_ULONG flags = !strcmp(how, "parallel") ? 0 : CKF_SERIAL_SESSION | (strcmp(how, "rw") ? 0 : CKF_RW_SESSION);
    CK_ULONG opened = 0;
    CK_RV rv = p11->C_OpenSession(in, flags, NULL, NULL, &opened);
    if (rv == CKR_OK) *handle(name) = opened;
    return rv;
}

static CK_RV login(CK_ULONG session, const char *user, const char *pin) {
    CK_ULONG type = !strcmp(user, "so") ? 0 : !strcmp(user, "user") ? USER : !strcmp(user, "context") ? 2 : strtoul(user, NULL, 0);
    return p11->C_Login(session, type, *pin ? pin : NULL, strlen(pin));
}

/* The words from `first` on, as TYPE=VALUE: a flag, a number by name, text behind ':', else hexadecimal. */
static CK_ULONG template_of(int first, struct attribute *all) {
    static unsigned char values[MAX_WORDS][512];
    CK_ULONG count = 0;
    for (int i = first; i < words; i++, count++) {
        char *value = strchr(word[i], '=');
        if (!value) _exit(98);
        *value++ = 0;
        struct attribute *its = &all[count];
        *its = (struct attribute){number_of(ATTRIBUTES, word[i]), values[count], 0};
        if (!strcmp(value, "true") || !strcmp(value, "false")) { values[count][0] = *value == 't'; its->length = 1; }
        else if (!strcmp(word[i], "class") || !strcmp(word[i], "key-type") || !strcmp(word[i], "modulus-bits")) {
            CK_ULONG number = number_of(VALUES, value);
            memcpy(values[count], &number, its->length = sizeof number);
        } else if (*value == ':') memcpy(values[count], value + 1, its->length = strlen(value + 1));
        else its->length = unhex(value, values[count]);
    }
    return count;
}

static void find(void) { /* find SESSION OBJECT TYPE=VALUE…: a whole search, the first that it brings, and how many */
    struct attribute wanted[MAX_WORDS];
    CK_ULONG found[64], count = 0, session = *handle(word[1]);
    CK_RV rv = p11->C_FindObjectsInit(session, wanted, template_of(3, wanted));
    if (rv != CKR_OK) { said(rv, ""); return; }
    rv = p11->C_FindObjects(session, found, 64, &count);
    if (count) *handle(word[2]) = found[0];
    CK_RV final = p11->C_FindObjectsFinal(session);
    said(rv, "%lu %s", count, name_of(RESULTS, final));
}

static void attribute(void) { /* attribute SESSION OBJECT TYPE [ROOM]: its length, then its value */
    static unsigned char value[MAX_DATA];
    CK_ULONG session = *handle(word[1]), object = *handle(word[2]);
    struct attribute wanted = {number_of(ATTRIBUTES, word[3]), NULL, 0};
    CK_RV rv = p11->C_GetAttributeValue(session, object, &wanted, 1);
    if (rv != CKR_OK) { said(rv, "%ld", (long)wanted.length); return; }
    CK_ULONG length = wanted.length;
    wanted.value = value;
    wanted.length = words > 4 ? strtoul(word[4], NULL, 0) : sizeof value;
    rv = p11->C_GetAttributeValue(session, object, &wanted, 1);
    said(rv, "%ld %ld %s", (long)length, (long)wanted.length, rv == CKR_OK ? hex(value, wanted.length) : "");
}

static void attributes(void) { /* attributes SESSION OBJECT TYPE…: all in one call; the length of each */
    static unsigned char values[MAX_WORDS][4096];
    struct attribute wanted[MAX_WORDS];
    char lengths[512] = "";
    CK_ULONG count = 0, session = *handle(word[1]), object = *handle(word[2]);
    for (int i = 3; i < words; i++, count++) wanted[count] = (struct attribute){number_of(ATTRIBUTES, word[i]), values[count], 4096};
    CK_RV rv = p11->C_GetAttributeValue(session, object, wanted, count);
    for (CK_ULONG i = 0; i < count; i++)
        snprintf(lengths + strlen(lengths), sizeof lengths - strlen(lengths), "%s%ld", i ? " " : "", (long)wanted[i].length);
    said(rv, "%s", lengths);
}

/* MECHANISM [pss BITS [SALT] | param HEX]: a hash and its mask of this length, with a salt as long as it or of SALT bytes. */
static struct mechanism *mechanism_at(int at) {
    static struct pss_params pss;
    static unsigned char bytes[256];
    static struct mechanism mechanism;
    mechanism = (struct mechanism){number_of(MECHANISMS, word[at]), NULL, 0};
    if (words > at + 2 && !strcmp(word[at + 1], "pss")) {
        CK_ULONG bits = strtoul(word[at + 2], NULL, 0);
        pss.hash = bits == 160 ? 0x220 : bits == 256 ? 0x250 : bits == 384 ? 0x260 : 0x270;
        pss.mgf = bits == 160 ? 1 : bits == 256 ? 2 : bits == 384 ? 3 : 4;
        pss.salt = words > at + 3 ? strtoul(word[at + 3], NULL, 0) : bits / 8;
        mechanism.parameter = &pss;
        mechanism.length = sizeof pss;
    } else if (words > at + 2 && !strcmp(word[at + 1], "param")) {
        mechanism.length = unhex(word[at + 2], bytes);
        mechanism.parameter = bytes;
    }
    return &mechanism;
}

/* sign SESSION DATA [ROOM | length | show], final SESSION …: with so much room; only the length; or the signature too */
static void sign(int is_final, const char *room) {
    static unsigned char data[MAX_DATA], out[MAX_DATA];
    CK_ULONG session = *handle(word[1]), size = is_final ? 0 : unhex(word[2], data), length = MAX_DATA;
    unsigned char *to = strcmp(room, "length") ? out : NULL;
    if (*room >= '0' && *room <= '9') length = strtoul(room, NULL, 0);
    CK_ULONG *counted = strcmp(room, "nowhere") ? &length : NULL;
    CK_RV rv = is_final ? p11->C_SignFinal(session, to, counted) : p11->C_Sign(session, data, size, to, counted);
    const char *shown = rv == CKR_OK && !strcmp(room, "show") ? hex(out, length) : "";
    if (rv == CKR_OK || rv == 0x150) said(rv, "%lu%s%s", length, *shown ? " " : "", shown);
    else said(rv, "");
}

/* try DATA OBJECT MECHANISM …: a signature in a session of its own; how far it came */
static void try(void) {
    static unsigned char data[MAX_DATA], out[MAX_DATA];
    CK_ULONG own = 0, length = sizeof out;
    CK_RV rv = p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &own);
    const char *where = "at C_OpenSession";
    if (rv == CKR_OK) { rv = p11->C_SignInit(own, mechanism_at(3), object()); where = "at C_SignInit"; }
    if (rv == CKR_OK && strcmp(word[1], "init")) { rv = p11->C_Sign(own, data, unhex(word[1], data), out, &length); where = "at C_Sign"; }
    p11->C_CloseSession(own);
    said(rv, "%s", where);
}

static int general(const char *command) {
    unsigned char data[512];
    CK_ULONG many[64], count = 64;
    if (!strcmp(command, "initialize")) said(initialize(), "");
    else if (!strcmp(command, "finalize")) said(p11->C_Finalize(words > 1 ? word[1] : NULL), "");
    else if (!strcmp(command, "info")) said(p11->C_GetInfo((struct library_info *)data), "");
    else if (!strcmp(command, "slots")) { /* slots with-token|all [ROOM | length] */
        const char *room = words > 2 ? word[2] : "";
        if (*room >= '0' && *room <= '9') count = strtoul(room, NULL, 0);
        CK_RV rv = p11->C_GetSlotList(!strcmp(word[1], "with-token"), strcmp(room, "length") ? many : NULL, strcmp(room, "nowhere") ? &count : NULL);
        said(rv, "");
    } else if (!strcmp(command, "slot")) said(p11->C_GetSlotInfo(slot_of(word[1]), (struct slot_info *)data), "");
    else if (!strcmp(command, "token")) { /* token [SLOT]: flags, and sessions */
        struct token_info info = {0};
        CK_RV rv = p11->C_GetTokenInfo(slot_of(words > 1 ? word[1] : ""), &info);
        CK_ULONG flags = info.flags;
        said(rv, "%s%s%s%s%ssessions %lu of them for writing %lu", flags & 1 ? "rng " : "", flags & 2 ? "write-protected " : "",
             flags & 4 ? "login-required " : "", flags & 8 ? "user-pin " : "", flags & 0x400 ? "initialized " : "", info.counts[1], info.counts[3]);
    } else if (!strcmp(command, "mechanisms")) said(p11->C_GetMechanismList(slot_of(word[1]), NULL, &count), "");
    else if (!strcmp(command, "mechanism")) { /* mechanism NAME [SLOT]: whether it signs */
        struct mechanism_info info = {0};
        CK_RV rv = p11->C_GetMechanismInfo(slot_of(words > 2 ? word[2] : ""), number_of(MECHANISMS, word[1]), &info);
        said(rv, "%s", rv != CKR_OK ? "" : info.flags & 0x800 ? "signs" : "does not sign");
    } else if (!strcmp(command, "wait")) said(p11->C_WaitForSlotEvent(1, many, NULL), ""); /* CKF_DONT_BLOCK */
    else return 0;
    return 1;
}

static int in_a_session(const char *command) {
    static unsigned char data[MAX_DATA];
    CK_ULONG session = words > 1 ? *handle(word[1]) : 0, made = 0, length;
    struct attribute wanted[MAX_WORDS];
    if (!strcmp(command, "open")) said(open_session(word[1], word[2], slot_of(words > 3 ? word[3] : "")), "");
    else if (!strcmp(command, "begin")) { /* begin SESSION: what most scripts begin with */
        CK_RV rv = p11->C_Initialize(NULL);
        if (rv == CKR_OK) rv = find_slot();
        if (rv == CKR_OK) rv = open_session(word[1], "ro", slot);
        if (rv == CKR_OK) rv = login(*handle(word[1]), "user", "1234");
        said(rv, "");
    } else if (!strcmp(command, "close")) said(p11->C_CloseSession(session), "");
    else if (!strcmp(command, "close_all")) said(p11->C_CloseAllSessions(slot_of(words > 1 ? word[1] : "")), "");
    else if (!strcmp(command, "session")) {
        struct session_info info = {0};
        CK_RV rv = p11->C_GetSessionInfo(session, &info);
        said(rv, "state %lu flags %lu %s", info.state, info.flags, rv == CKR_OK && info.slot == slot ? "of the token" : "");
    } else if (!strcmp(command, "login")) said(login(session, word[2], words > 3 ? word[3] : ""), "");
    else if (!strcmp(command, "logout")) said(p11->C_Logout(session), "");
    else if (!strcmp(command, "find")) find();
    else if (!strcmp(command, "find_init")) said(p11->C_FindObjectsInit(session, wanted, template_of(2, wanted)), "");
    else if (!strcmp(command, "find_next")) { /* find_next SESSION MOST */
        CK_ULONG found[64], count = 0;
        CK_RV rv = p11->C_FindObjects(session, found, strtoul(word[2], NULL, 0), &count);
        said(rv, "%lu", count);
    } else if (!strcmp(command, "find_final")) said(p11->C_FindObjectsFinal(session), "");
    else if (!strcmp(command, "attribute")) attribute();
    else if (!strcmp(command, "attributes")) attributes();
    else if (!strcmp(command, "size")) said(p11->C_GetObjectSize(session, object(), &length), "");
    else if (!strcmp(command, "sign_init")) said(p11->C_SignInit(session, mechanism_at(3), object()), "");
    else if (!strcmp(command, "try")) try();
    else if (!strcmp(command, "cancel")) said(p11->C_SignInit(session, NULL, 0), "");
    else if (!strcmp(command, "sign")) sign(0, words > 3 ? word[3] : "");
    else if (!strcmp(command, "update")) { length = unhex(word[2], data); said(p11->C_SignUpdate(session, data, length), ""); }
    else if (!strcmp(command, "final")) sign(1, words > 2 ? word[2] : "");
    else if (!strcmp(command, "random")) said(p11->C_GenerateRandom(session, data, strtoul(word[2], NULL, 0)), "");
    else if (!strcmp(command, "seed")) said(p11->C_SeedRandom(session, data, 16), "");
    else if (!strcmp(command, "create")) said(p11->C_CreateObject(session, wanted, template_of(2, wanted), &made), "");
    else if (!strcmp(command, "copy")) said(p11->C_CopyObject(session, object(), wanted, template_of(3, wanted), &made), "");
    else if (!strcmp(command, "set")) said(p11->C_SetAttributeValue(session, object(), wanted, template_of(3, wanted)), "");
    else if (!strcmp(command, "destroy")) said(p11->C_DestroyObject(session, object()), "");
    else if (!strcmp(command, "digest_init")) said(p11->C_DigestInit(session, mechanism_at(2)), "");
    else if (!strcmp(command, "verify_init")) said(p11->C_VerifyInit(session, mechanism_at(3), object()), "");
    else if (!strcmp(command, "encrypt_init")) said(p11->C_EncryptInit(session, mechanism_at(3), object()), "");
    else if (!strcmp(command, "decrypt_init")) said(p11->C_DecryptInit(session, mechanism_at(3), object()), "");
    else if (!strcmp(command, "recover_init")) said(p11->C_SignRecoverInit(session, mechanism_at(3), object()), "");
    else if (!strcmp(command, "derive")) said(p11->C_DeriveKey(session, mechanism_at(3), object(), NULL, 0, &made), "");
    else if (!strcmp(command, "generate")) said(p11->C_GenerateKey(session, mechanism_at(2), NULL, 0, &made), "");
    else if (!strcmp(command, "wrap")) { length = sizeof data; said(p11->C_WrapKey(session, mechanism_at(4), *handle(word[3]), object(), data, &length), ""); }
    else if (!strcmp(command, "state")) { length = sizeof data; said(p11->C_GetOperationState(session, data, &length), ""); }
    else if (!strcmp(command, "status")) said(p11->C_GetFunctionStatus(session), "");
    else if (!strcmp(command, "stop")) said(p11->C_CancelFunction(session), "");
    else return 0;
    return 1;
}

static int step(char *lines[], int at) {
    line = at + 1;
    words = 0;
    for (char *w = strtok(lines[at], " "); w && words < MAX_WORDS; w = strtok(NULL, " ")) word[words++] = w;
    for (int i = words; i < MAX_WORDS; i++) word[i] = "";
    if (!strcmp(word[0], "fork")) { /* the child does the next N lines and exits; the parent waits, and skips them */
        int count = atoi(word[1]), status = 0;
        pid_t child = fork();
        if (child == 0) {
            for (int i = at + 1; i <= at + count; i = step(lines, i)) {}
            _exit(0);
        }
        waitpid(child, &status, 0);
        line = at + 1;
        said(CKR_OK, "ended with %x", status);
        return at + 1 + count;
    }
    if (!general(word[0]) && !in_a_session(word[0])) _exit(93);
    return at + 1;
}

int main(int argc, char **argv) {
    char *lines[MAX_LINES];
    if (argc != 4) return 94;
    memset(token, ' ', 32);
    memcpy(token, argv[2], strlen(argv[2]) > 32 ? 32 : strlen(argv[2]));
    begin_report(argv[3]);
    int count = read_script(lines);
    if (load(argv[1]) != CKR_OK) return 92;
    for (int at = 0; at < count; at = step(lines, at)) {}
    return 0;
}
