/* As much of PKCS#11 2.40 as the clients need (the standard's header belongs to no package that is always there). */
#pragma once

typedef unsigned long CK_ULONG;
typedef unsigned long CK_RV;

struct attribute { CK_ULONG type; void *value; CK_ULONG length; };
struct mechanism { CK_ULONG type; void *parameter; CK_ULONG length; };
struct pss_params { CK_ULONG hash, mgf, salt; };
struct initialize_args {
    CK_RV (*create)(void **);
    CK_RV (*destroy)(void *);
    CK_RV (*lock)(void *);
    CK_RV (*unlock)(void *);
    CK_ULONG flags;
    void *reserved;
};

struct version { unsigned char major, minor; };
struct library_info { struct version cryptoki; char manufacturer[32]; CK_ULONG flags; char description[32]; struct version own; };
struct slot_info { char description[64], manufacturer[32]; CK_ULONG flags; struct version hardware, firmware; };
struct token_info {
    char label[32], manufacturer[32], model[16], serial[16];
    CK_ULONG flags, counts[10];
    struct version hardware, firmware;
    char time[16];
};
struct session_info { CK_ULONG slot, state, flags, error; };
struct mechanism_info { CK_ULONG smallest, largest, flags; };

/* The order is the standard's; what no client calls has only its place. */
struct function_list {
    struct version version;
    CK_RV (*C_Initialize)(void *);
    CK_RV (*C_Finalize)(void *);
    CK_RV (*C_GetInfo)(void *);
    void *C_GetFunctionList;
    CK_RV (*C_GetSlotList)(unsigned char, CK_ULONG *, CK_ULONG *);
    CK_RV (*C_GetSlotInfo)(CK_ULONG, struct slot_info *);
    CK_RV (*C_GetTokenInfo)(CK_ULONG, struct token_info *);
    CK_RV (*C_GetMechanismList)(CK_ULONG, CK_ULONG *, CK_ULONG *);
    CK_RV (*C_GetMechanismInfo)(CK_ULONG, CK_ULONG, struct mechanism_info *);
    void *C_InitToken, *C_InitPIN, *C_SetPIN;
    CK_RV (*C_OpenSession)(CK_ULONG, CK_ULONG, void *, void *, CK_ULONG *);
    CK_RV (*C_CloseSession)(CK_ULONG);
    CK_RV (*C_CloseAllSessions)(CK_ULONG);
    CK_RV (*C_GetSessionInfo)(CK_ULONG, struct session_info *);
    CK_RV (*C_GetOperationState)(CK_ULONG, unsigned char *, CK_ULONG *);
    void *C_SetOperationState;
    CK_RV (*C_Login)(CK_ULONG, CK_ULONG, const char *, CK_ULONG);
    CK_RV (*C_Logout)(CK_ULONG);
    CK_RV (*C_CreateObject)(CK_ULONG, struct attribute *, CK_ULONG, CK_ULONG *);
    CK_RV (*C_CopyObject)(CK_ULONG, CK_ULONG, struct attribute *, CK_ULONG, CK_ULONG *);
    CK_RV (*C_DestroyObject)(CK_ULONG, CK_ULONG);
    CK_RV (*C_GetObjectSize)(CK_ULONG, CK_ULONG, CK_ULONG *);
    CK_RV (*C_GetAttributeValue)(CK_ULONG, CK_ULONG, struct attribute *, CK_ULONG);
    CK_RV (*C_SetAttributeValue)(CK_ULONG, CK_ULONG, struct attribute *, CK_ULONG);
    CK_RV (*C_FindObjectsInit)(CK_ULONG, struct attribute *, CK_ULONG);
    CK_RV (*C_FindObjects)(CK_ULONG, CK_ULONG *, CK_ULONG, CK_ULONG *);
    CK_RV (*C_FindObjectsFinal)(CK_ULONG);
    CK_RV (*C_EncryptInit)(CK_ULONG, struct mechanism *, CK_ULONG);
    void *C_Encrypt, *C_EncryptUpdate, *C_EncryptFinal;
    CK_RV (*C_DecryptInit)(CK_ULONG, struct mechanism *, CK_ULONG);
    void *C_Decrypt, *C_DecryptUpdate, *C_DecryptFinal;
    CK_RV (*C_DigestInit)(CK_ULONG, struct mechanism *);
    void *C_Digest, *C_DigestUpdate, *C_DigestKey, *C_DigestFinal;
    CK_RV (*C_SignInit)(CK_ULONG, struct mechanism *, CK_ULONG);
    CK_RV (*C_Sign)(CK_ULONG, unsigned char *, CK_ULONG, unsigned char *, CK_ULONG *);
    CK_RV (*C_SignUpdate)(CK_ULONG, unsigned char *, CK_ULONG);
    CK_RV (*C_SignFinal)(CK_ULONG, unsigned char *, CK_ULONG *);
    CK_RV (*C_SignRecoverInit)(CK_ULONG, struct mechanism *, CK_ULONG);
    void *C_SignRecover;
    CK_RV (*C_VerifyInit)(CK_ULONG, struct mechanism *, CK_ULONG);
    void *C_Verify, *C_VerifyUpdate, *C_VerifyFinal, *C_VerifyRecoverInit, *C_VerifyRecover;
    void *C_DigestEncryptUpdate, *C_DecryptDigestUpdate, *C_SignEncryptUpdate, *C_DecryptVerifyUpdate;
    CK_RV (*C_GenerateKey)(CK_ULONG, struct mechanism *, struct attribute *, CK_ULONG, CK_ULONG *);
    void *C_GenerateKeyPair;
    CK_RV (*C_WrapKey)(CK_ULONG, struct mechanism *, CK_ULONG, CK_ULONG, unsigned char *, CK_ULONG *);
    void *C_UnwrapKey;
    CK_RV (*C_DeriveKey)(CK_ULONG, struct mechanism *, CK_ULONG, struct attribute *, CK_ULONG, CK_ULONG *);
    CK_RV (*C_SeedRandom)(CK_ULONG, unsigned char *, CK_ULONG);
    CK_RV (*C_GenerateRandom)(CK_ULONG, unsigned char *, CK_ULONG);
    CK_RV (*C_GetFunctionStatus)(CK_ULONG);
    CK_RV (*C_CancelFunction)(CK_ULONG);
    CK_RV (*C_WaitForSlotEvent)(CK_ULONG, CK_ULONG *, void *);
};

enum {
    CKR_OK = 0,
    CKR_BUFFER_TOO_SMALL = 0x150,
    CKF_SERIAL_SESSION = 4,
    CKF_RW_SESSION = 2,
    CKF_OS_LOCKING_OK = 2,
    CKO_PRIVATE_KEY = 3,
    CKA_CLASS = 0,
    CKA_ID = 0x102,
    /* Results of our own, outside the standard's. */
    NO_SLOT = 0xfffff001,
    NO_OBJECT = 0xfffff002,
};
