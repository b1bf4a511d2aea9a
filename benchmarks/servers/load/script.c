/* The commands of a script. Bytes are in hexadecimal, `-` for none.
 *
 *   server ADDRESS PORT      path PATH      header LINE      sources COUNT      tls      busy      process PID
 *   hello FRAME              a frame that a client sends when its session is open; each is answered by one
 *   hello-reply BEGINNING    how each of those answers begins
 *   message FRAMES           what a client sends; several are sent in turn       messages: forgets those before
 *   reply OPCODE BEGINNING LENGTH      what counts as a unit; LENGTH 0 is any
 *
 * and those that measure:
 *
 *   connect COUNT AT_ONCE    more clients         close      resets all of them
 *   idle SECONDS             answers heartbeats and counts them
 *   echo ACTIVE WINDOW WARM_UP SECONDS         so many clients keep so many messages in flight
 *   broadcast WARM_UP COUNT RECEIVERS          the first client sends, and waits for so many deliveries
 *   poll COUNT PACKET PACKETS WARM_UP SECONDS  clients on polling post so many packets, when the ones before came back
 *   storm WARM_UP COUNT AT_ONCE                clients open on polling and move to WebSocket; an echo ends each
 */
#define _GNU_SOURCE
#include "generator.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static bytes from_hexadecimal(const char *text) {
    bytes found = {malloc(strlen(text) / 2 + 1), 0};
    if (strcmp(text, "-"))
        for (unsigned value; sscanf(text, "%2x", &value) == 1; text += 2)
            found.data[found.length++] = (uint8_t)value;
    /* A packet of polling is read as a text. */
    found.data[found.length] = 0;
    return found;
}

static int commanded(char *line) {
    char *name = strsep(&line, " ");
    char *words[5] = {"", "", "", "", ""};
    if (!strcmp(name, "header"))
        return snprintf(given.header + strlen(given.header), sizeof given.header - strlen(given.header), "%s\r\n",
                        line);
    for (int i = 0; i < 5 && line; i++)
        words[i] = strsep(&line, " ");
#define WHOLE(i) atoi(words[i])
#define REAL(i) atof(words[i])
    if (!strcmp(name, "server")) {
        snprintf(given.host, sizeof given.host, "%s:%s", words[0], words[1]);
        given.server.sin_family = AF_INET;
        given.server.sin_port = htons((uint16_t)WHOLE(1));
        return inet_pton(AF_INET, words[0], &given.server.sin_addr);
    }
    if (!strcmp(name, "path"))
        return snprintf(given.path, sizeof given.path, "%s", words[0]);
    if (!strcmp(name, "sources"))
        return (given.sources = WHOLE(0)) > 0;
    if (!strcmp(name, "tls"))
        return given.tls = true;
    if (!strcmp(name, "busy"))
        return given.busy = true;
    if (!strcmp(name, "process"))
        measure_process(WHOLE(0));
    else if (!strcmp(name, "hello"))
        say_hello_with(from_hexadecimal(words[0]));
    else if (!strcmp(name, "hello-reply"))
        expect_hello(from_hexadecimal(words[0]));
    else if (!strcmp(name, "messages"))
        forget_messages();
    else if (!strcmp(name, "message"))
        send_message(from_hexadecimal(words[0]));
    else if (!strcmp(name, "reply"))
        expect_reply(WHOLE(0), from_hexadecimal(words[1]), (size_t)WHOLE(2));
    else if (!strcmp(name, "connect"))
        step_connect(WHOLE(0), WHOLE(1));
    else if (!strcmp(name, "close"))
        step_close();
    else if (!strcmp(name, "idle"))
        step_idle(REAL(0));
    else if (!strcmp(name, "echo"))
        step_echo(WHOLE(0), WHOLE(1), REAL(2), REAL(3));
    else if (!strcmp(name, "broadcast"))
        step_broadcast(WHOLE(0), WHOLE(1), WHOLE(2));
    else if (!strcmp(name, "poll"))
        step_poll(WHOLE(0), (char *)from_hexadecimal(words[1]).data, WHOLE(2), REAL(3), REAL(4));
    else if (!strcmp(name, "storm"))
        step_storm(WHOLE(0), WHOLE(1), WHOLE(2));
    else
        return 0;
    return 1;
}

int main(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    char *line = NULL;
    size_t room = 0;
    for (ssize_t length; (length = getline(&line, &room, stdin)) > 0;) {
        line[strcspn(line, "\n")] = 0;
        if (*line && !commanded(line))
            fail("no such command: %.40s", line);
    }
    return 0;
}
