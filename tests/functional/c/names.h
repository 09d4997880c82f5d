/* The standard's names of what scripts say and reports show. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cryptoki.h"

struct name { const char *text; CK_ULONG number; };

/* CKR_ */
static const struct name RESULTS[] = {
    {"OK", 0x0}, {"HOST_MEMORY", 0x2}, {"SLOT_ID_INVALID", 0x3}, {"GENERAL_ERROR", 0x5}, {"FUNCTION_FAILED", 0x6},
    {"ARGUMENTS_BAD", 0x7}, {"NO_EVENT", 0x8}, {"CANT_LOCK", 0xa}, {"ATTRIBUTE_READ_ONLY", 0x10}, {"ATTRIBUTE_SENSITIVE", 0x11},
    {"ATTRIBUTE_TYPE_INVALID", 0x12}, {"ATTRIBUTE_VALUE_INVALID", 0x13}, {"ACTION_PROHIBITED", 0x1b}, {"DATA_INVALID", 0x20},
    {"DATA_LEN_RANGE", 0x21}, {"DEVICE_ERROR", 0x30}, {"FUNCTION_CANCELED", 0x50}, {"FUNCTION_NOT_PARALLEL", 0x51},
    {"FUNCTION_NOT_SUPPORTED", 0x54}, {"KEY_HANDLE_INVALID", 0x60}, {"KEY_SIZE_RANGE", 0x62}, {"KEY_TYPE_INCONSISTENT", 0x63},
    {"KEY_FUNCTION_NOT_PERMITTED", 0x68}, {"MECHANISM_INVALID", 0x70}, {"MECHANISM_PARAM_INVALID", 0x71},
    {"OBJECT_HANDLE_INVALID", 0x82}, {"OPERATION_ACTIVE", 0x90}, {"OPERATION_NOT_INITIALIZED", 0x91}, {"PIN_INCORRECT", 0xa0},
    {"SESSION_CLOSED", 0xb0}, {"SESSION_HANDLE_INVALID", 0xb3}, {"SESSION_PARALLEL_NOT_SUPPORTED", 0xb4}, {"SESSION_READ_ONLY", 0xb5},
    {"SESSION_EXISTS", 0xb6}, {"SESSION_READ_ONLY_EXISTS", 0xb7}, {"TEMPLATE_INCOMPLETE", 0xd0}, {"TEMPLATE_INCONSISTENT", 0xd1},
    {"TOKEN_NOT_PRESENT", 0xe0}, {"TOKEN_WRITE_PROTECTED", 0xe2}, {"USER_ALREADY_LOGGED_IN", 0x100}, {"USER_NOT_LOGGED_IN", 0x101},
    {"USER_TYPE_INVALID", 0x103}, {"USER_ANOTHER_ALREADY_LOGGED_IN", 0x104}, {"RANDOM_SEED_NOT_SUPPORTED", 0x120},
    {"BUFFER_TOO_SMALL", 0x150}, {"CRYPTOKI_NOT_INITIALIZED", 0x190}, {"CRYPTOKI_ALREADY_INITIALIZED", 0x191},
    {"FUNCTION_REJECTED", 0x200}, {NULL, 0},
};

/* CKA_ */
static const struct name ATTRIBUTES[] = {
    {"class", 0x0}, {"token", 0x1}, {"private", 0x2}, {"label", 0x3}, {"value", 0x11}, {"certificate-type", 0x80}, {"issuer", 0x81},
    {"serial", 0x82}, {"trusted", 0x86}, {"category", 0x87}, {"key-type", 0x100}, {"subject", 0x101}, {"id", 0x102},
    {"sensitive", 0x103}, {"encrypt", 0x104}, {"decrypt", 0x105}, {"wrap", 0x106}, {"unwrap", 0x107}, {"sign", 0x108},
    {"sign-recover", 0x109}, {"verify", 0x10a}, {"derive", 0x10c}, {"modulus", 0x120}, {"modulus-bits", 0x121}, {"public-exponent", 0x122},
    {"private-exponent", 0x123}, {"prime-1", 0x124}, {"public-key-info", 0x129}, {"extractable", 0x162}, {"local", 0x163},
    {"never-extractable", 0x164}, {"always-sensitive", 0x165}, {"modifiable", 0x170}, {"copyable", 0x171}, {"destroyable", 0x172},
    {"ec-params", 0x180}, {"ec-point", 0x181}, {"always-authenticate", 0x202}, {"allowed-mechanisms", 0x40000600},
    {"unknown", 0x7fffff01}, {NULL, 0},
};

/* CKO_ and CKK_, as values of attributes */
static const struct name VALUES[] = {
    {"data-object", 0}, {"certificate", 1}, {"public-key", 2}, {"private-key", 3}, {"rsa", 0}, {"ec", 3}, {NULL, 0},
};

/* CKM_ */
static const struct name MECHANISMS[] = {
    {"rsa", 0x1}, {"rsa-x509", 0x3}, {"md5-rsa", 0x5}, {"sha1-rsa", 0x6}, {"rsa-pss", 0xd}, {"sha1-rsa-pss", 0xe}, {"sha256-rsa", 0x40},
    {"sha384-rsa", 0x41}, {"sha512-rsa", 0x42}, {"sha256-rsa-pss", 0x43}, {"sha384-rsa-pss", 0x44}, {"sha512-rsa-pss", 0x45},
    {"sha256", 0x250}, {"sha256-hmac", 0x251}, {"ecdsa", 0x1041}, {"ecdsa-sha256", 0x1044}, {"ecdsa-sha384", 0x1045},
    {"ecdsa-sha512", 0x1046}, {"ecdh", 0x1050}, {"eddsa", 0x1057}, {"aes-key-gen", 0x1080}, {"aes-cbc", 0x1082}, {"unknown", 0x7fffff01},
    {NULL, 0},
};

static const char *name_of(const struct name *names, CK_ULONG number) {
    static char other[32];
    for (; names->text; names++)
        if (names->number == number) return names->text;
    snprintf(other, sizeof other, "0x%lx", number);
    return other;
}

static CK_ULONG number_of(const struct name *names, const char *text) {
    for (; names->text; names++)
        if (!strcmp(names->text, text)) return names->number;
    char *end;
    CK_ULONG number = strtoul(text, &end, 0);
    if (end == text || *end) _exit(98); /* neither a name nor a number */
    return number;
}
