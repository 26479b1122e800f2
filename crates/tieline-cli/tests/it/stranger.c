/* A peer made without this repository: the POSIX and System V calls as the manual pages have them. */
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

struct message { long type; char text[65536]; };

static int fail(const char *what) { perror(what); return 1; }

int main(int count, char **words)
{
    static struct message message;
    const char *verb = count > 1 ? words[1] : "";
    if (!strcmp(verb, "mq-send")) { /* NAME PRIORITY TEXT */
        mqd_t queue = mq_open(words[2], O_WRONLY);
        if (queue == (mqd_t)-1) return fail("mq_open");
        return mq_send(queue, words[4], strlen(words[4]), atoi(words[3])) ? fail("mq_send") : 0;
    }
    if (!strcmp(verb, "mq-receive")) { /* NAME */
        mqd_t queue = mq_open(words[2], O_RDONLY | O_NONBLOCK);
        if (queue == (mqd_t)-1) return fail("mq_open");
        unsigned priority;
        ssize_t length = mq_receive(queue, message.text, sizeof message.text, &priority);
        if (length < 0) return fail("mq_receive");
        printf("%u %.*s\n", priority, (int)length, message.text);
        return 0;
    }
    if (!strcmp(verb, "msg-send")) { /* KEY TYPE TEXT */
        int queue = msgget((key_t)strtoul(words[2], 0, 0), 0);
        message.type = atol(words[3]);
        strcpy(message.text, words[4]);
        return msgsnd(queue, &message, strlen(words[4]), 0) ? fail("msgsnd") : 0;
    }
    if (!strcmp(verb, "msg-receive")) { /* KEY */
        int queue = msgget((key_t)strtoul(words[2], 0, 0), 0);
        ssize_t length = msgrcv(queue, &message, sizeof message.text, 0, IPC_NOWAIT);
        if (length < 0) return fail("msgrcv");
        printf("%ld %.*s\n", message.type, (int)length, message.text);
        return 0;
    }
    if (!strcmp(verb, "shm-read")) { /* ID LENGTH: the segment to standard output */
        const char *memory = shmat(atoi(words[2]), 0, SHM_RDONLY);
        if (memory == (void *)-1) return fail("shmat");
        return fwrite(memory, 1, strtoul(words[3], 0, 0), stdout) ? 0 : fail("write");
    }
    if (!strcmp(verb, "shm-write")) { /* ID: standard input into the segment */
        char *memory = shmat(atoi(words[2]), 0, 0);
        if (memory == (void *)-1) return fail("shmat");
        ssize_t length;
        while ((length = read(0, memory, 1 << 20)) > 0) memory += length;
        return length < 0 ? fail("read") : 0;
    }
    if (!strcmp(verb, "sem")) { /* NAME: wait once without blocking, post twice, print the value */
        int value;
        sem_t *semaphore = sem_open(words[2], 0);
        if (semaphore == SEM_FAILED) return fail("sem_open");
        if (sem_trywait(semaphore) || sem_post(semaphore) || sem_post(semaphore)) return fail("sem");
        sem_getvalue(semaphore, &value);
        printf("%d\n", value);
        return 0;
    }
    if (!strcmp(verb, "semset")) { /* KEY INDEX: the value */
        int set = semget((key_t)strtoul(words[2], 0, 0), 0, 0);
        int value = semctl(set, atoi(words[3]), GETVAL);
        if (value < 0) return fail("semctl");
        printf("%d\n", value);
        return 0;
    }
    return 2;
}
