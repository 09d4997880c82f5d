/* As much of PKCS#11 2.40 as client.c needs (the standard's header belongs to no package that is always there). */
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

/* The order is the standard's; what client.c does not call has only its place. */
struct function_list {
    struct { unsigned char major, minor; } version;
    CK_RV (*C_Initialize)(void *);
    CK_RV (*C_Finalize)(void *);
    CK_RV (*C_GetInfo)(void *);
    void *C_GetFunctionList;
    CK_RV (*C_GetSlotList)(unsigned char, CK_ULONG *, CK_ULONG *);
    void *C_GetSlotInfo, *C_GetTokenInfo, *C_GetMechanismList, *C_GetMechanismInfo, *C_InitToken, *C_InitPIN, *C_SetPIN;
    CK_RV (*C_OpenSession)(CK_ULONG, CK_ULONG, void *, void *, CK_ULONG *);
    CK_RV (*C_CloseSession)(CK_ULONG);
    void *C_CloseAllSessions, *C_GetSessionInfo, *C_GetOperationState, *C_SetOperationState, *C_Login, *C_Logout;
    void *C_CreateObject, *C_CopyObject, *C_DestroyObject, *C_GetObjectSize;
    CK_RV (*C_GetAttributeValue)(CK_ULONG, CK_ULONG, struct attribute *, CK_ULONG);
    void *C_SetAttributeValue;
    CK_RV (*C_FindObjectsInit)(CK_ULONG, struct attribute *, CK_ULONG);
    CK_RV (*C_FindObjects)(CK_ULONG, CK_ULONG *, CK_ULONG, CK_ULONG *);
    CK_RV (*C_FindObjectsFinal)(CK_ULONG);
    void *C_EncryptInit, *C_Encrypt, *C_EncryptUpdate, *C_EncryptFinal;
    void *C_DecryptInit, *C_Decrypt, *C_DecryptUpdate, *C_DecryptFinal;
    void *C_DigestInit, *C_Digest, *C_DigestUpdate, *C_DigestKey, *C_DigestFinal;
    CK_RV (*C_SignInit)(CK_ULONG, struct mechanism *, CK_ULONG);
    CK_RV (*C_Sign)(CK_ULONG, unsigned char *, CK_ULONG, unsigned char *, CK_ULONG *);
    CK_RV (*C_SignUpdate)(CK_ULONG, unsigned char *, CK_ULONG);
    CK_RV (*C_SignFinal)(CK_ULONG, unsigned char *, CK_ULONG *);
    void *C_SignRecoverInit, *C_SignRecover;
    void *C_VerifyInit, *C_Verify, *C_VerifyUpdate, *C_VerifyFinal, *C_VerifyRecoverInit, *C_VerifyRecover;
    void *C_DigestEncryptUpdate, *C_DecryptDigestUpdate, *C_SignEncryptUpdate, *C_DecryptVerifyUpdate;
    void *C_GenerateKey, *C_GenerateKeyPair, *C_WrapKey, *C_UnwrapKey, *C_DeriveKey;
    CK_RV (*C_SeedRandom)(CK_ULONG, unsigned char *, CK_ULONG);
    CK_RV (*C_GenerateRandom)(CK_ULONG, unsigned char *, CK_ULONG);
    void *C_GetFunctionStatus, *C_CancelFunction, *C_WaitForSlotEvent;
};

enum {
    CKR_OK = 0,
    CKR_BUFFER_TOO_SMALL = 0x150,
    CKF_SERIAL_SESSION = 4,
    CKF_OS_LOCKING_OK = 2,
    CKO_PRIVATE_KEY = 3,
    CKA_CLASS = 0,
    CKA_ID = 0x102,
    /* Results of our own, outside the standard's. */
    NO_SLOT = 0xfffff001,
    NO_OBJECT = 0xfffff002,
};
