/* What both clients have: the report, bytes in hexadecimal, a module loaded. */
#pragma once
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cryptoki.h"

enum { MAX_LINES = 4096, MAX_DATA = 1 << 16 };

static void *library;
static struct function_list *p11;
static int report;
static const char *who = "";

/* A line of the report, by one write(2): nothing is buffered that a fork could write twice. */
static void note(const char *format, ...) {
    static __thread char line[2 * MAX_DATA + 256];
    va_list arguments;
    int length = snprintf(line, sizeof line, "%s", who);
    va_start(arguments, format);
    length += vsnprintf(line + length, sizeof line - length, format, arguments);
    va_end(arguments);
    line[length++] = '\n';
    if (write(report, line, length) != length) _exit(90);
}

static const char *hex(const unsigned char *bytes, CK_ULONG length) {
    static __thread char text[2 * MAX_DATA + 1];
    if (length > MAX_DATA) length = MAX_DATA;
    for (CK_ULONG i = 0; i < length; i++) sprintf(text + 2 * i, "%02x", bytes[i]);
    text[2 * length] = 0;
    return text;
}

/* "-" is no bytes; "zeros:N" is N bytes of zero; else hexadecimal. */
static CK_ULONG unhex(const char *text, unsigned char *bytes) {
    CK_ULONG length = 0;
    if (!strncmp(text, "zeros:", 6)) {
        length = strtoul(text + 6, NULL, 10);
        memset(bytes, 0, length);
        return length;
    }
    for (; text[0] && text[1] && text[0] != '-'; text += 2, length++) {
        unsigned byte;
        if (sscanf(text, "%2x", &byte) != 1) _exit(91);
        bytes[length] = byte;
    }
    return length;
}

static CK_RV load(const char *module) {
    CK_RV (*get)(struct function_list **);
    library = dlopen(module, RTLD_NOW | RTLD_LOCAL);
    if (!library) { note("dlopen %s", dlerror()); _exit(92); }
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    return get(&p11);
}

/* The lines of the script on the standard input, without empty ones. */
static int read_script(char *lines[]) {
    static char script[1 << 20];
    int count = 0;
    size_t length = 0;
    ssize_t got;
    while ((got = read(0, script + length, sizeof script - 1 - length)) > 0) length += got;
    char *rest = script;
    for (char *line; (line = strsep(&rest, "\n")) && count < MAX_LINES;) if (*line) lines[count++] = line;
    return count;
}

static void begin_report(const char *path) { report = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600); }
