/* What the factory says, for people and as JSON. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/factory.pb-c.h"

/* Leaves only what concerns one template; NULL: all stays. */
void status_select(Kiln__Factory__V1__StatusResponse *status, const char *template_name);
void list_select(Kiln__Factory__V1__ListResponse *list, const char *template_name);

/* The factory is on: a template is ready to be claimed from. */
bool status_is_on(const Kiln__Factory__V1__StatusResponse *status);

void status_print(const Kiln__Factory__V1__StatusResponse *status, FILE *out);
/* status may be NULL where no factory answers: {"on": false}. */
void status_print_json(const Kiln__Factory__V1__StatusResponse *status, FILE *out);

void list_print(const Kiln__Factory__V1__ListResponse *list, FILE *out);

/* An answer of the factory, whichever, as JSON with all fields. */
void answer_print_json(const ProtobufCMessage *answer, FILE *out);

/* "840 ms", "12.3 s", "4 min 10 s", "3 h 12 min", "2 d 5 h"; the caller frees. */
char *duration_text(uint64_t ms);
