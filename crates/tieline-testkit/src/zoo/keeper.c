/*
 * A keeper of the zoo: makes one known shape of inter-process communication, says on standard output what it made,
 * and keeps it until its standard input ends. See mod.rs for the lines.
 *
 *     keeper SPECIES DIRECTORY PREFIX SEED
 *
 * Objects with a name in the file system lie in DIRECTORY; other names begin with PREFIX; SEED varies the amounts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *directory, *prefix;
static unsigned seed;

/* What outlives this process, to be removed at its end. */
static int segment = -1, queue = -1, set = -1;
static char posix_queue[64];

static void remove_all(void)
{
	if (segment != -1)
		shmctl(segment, IPC_RMID, NULL);
	if (queue != -1)
		msgctl(queue, IPC_RMID, NULL);
	if (set != -1)
		semctl(set, 0, IPC_RMID);
	/* In an IPC namespace whose queues are mounted nowhere only this removes it. */
	if (posix_queue[0])
		mq_unlink(posix_queue);
}

static void fail(const char *what)
{
	fprintf(stderr, "keeper: %s: %s\n", what, strerror(errno));
	exit(1);
}

#define CHECK(call) ({ __auto_type result_ = (call); if ((long)result_ == -1) fail(#call); result_; })

/* Whole lines in one write, because children speak on the same pipe. */
static void say(const char *format, ...)
{
	char line[1024];
	va_list list;
	va_start(list, format);
	int length = vsnprintf(line, sizeof line, format, list);
	va_end(list);
	if (write(1, line, length) != length)
		exit(1);
}

static void object_of_fd(const char *label, const char *kind, int fd, const char *format, ...)
{
	struct stat status;
	char facts[512];
	va_list list;
	CHECK(fstat(fd, &status));
	va_start(list, format);
	vsnprintf(facts, sizeof facts, format, list);
	va_end(list);
	say("object\t%s\t%s\tdevice=%llu\tinode=%llu%s\n", label, kind, (unsigned long long)status.st_dev,
	    (unsigned long long)status.st_ino, facts);
}

static void hold_fd(const char *label, int fd, const char *access)
{
	say("hold\t%s\t%d\tfd\t%d\t%s\n", label, (int)getpid(), fd, access);
}

static void hold_map(const char *label, const char *access)
{
	say("hold\t%s\t%d\tmap\t%s\n", label, (int)getpid(), access);
}

/* Descriptors that children shall not have. */
static int private_fds[8], private_count;

static int mine(int fd)
{
	return private_fds[private_count++] = fd;
}

static void close_private(void)
{
	for (int i = 0; i < private_count; i++)
		close(private_fds[i]);
}

/* A child that does its part, tells it, and stays. */
static pid_t child(void (*part)(void *), void *with)
{
	int told[2];
	CHECK(pipe(told));
	pid_t pid = CHECK(fork());
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(0);
		close(told[0]);
		close_private();
		part(with);
		close(told[1]);
		for (;;)
			pause();
	}
	close(told[1]);
	/* Until the child has told everything. */
	char byte;
	while (read(told[0], &byte, 1) == -1 && errno == EINTR)
		;
	close(told[0]);
	return pid;
}

/* A child whose last act is to wait for something for ever. It may not have fallen asleep yet. */
static pid_t waiter(void (*part)(void *), void *with)
{
	pid_t pid = CHECK(fork());
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(0);
		close_private();
		part(with);
		exit(1);
	}
	return pid;
}

static void reader_part(void *with)
{
	int *ends = with;
	hold_fd("pipe", ends[0], "r");
}

static void species_pipe(int full)
{
	int ends[2];
	char bytes[4096];
	memset(bytes, 'x', sizeof bytes);
	CHECK(pipe(ends));
	mine(ends[1]);
	size_t used = 0;
	if (full) {
		fcntl(ends[1], F_SETFL, O_NONBLOCK);
		for (ssize_t wrote; (wrote = write(ends[1], bytes, sizeof bytes)) > 0;)
			used += wrote;
	} else {
		used = seed % sizeof bytes;
		CHECK(write(ends[1], bytes, used));
	}
	int capacity = CHECK(fcntl(ends[1], F_GETPIPE_SZ));
	object_of_fd("pipe", "pipe", ends[1], "\tused=%zu\tcapacity=%d\tunit=bytes", used, capacity);
	child(reader_part, ends);
	close(ends[0]);
	hold_fd("pipe", ends[1], "w");
}

static void read_part(void *with)
{
	char byte;
	read(*(int *)with, &byte, 1);
}

static void write_part(void *with)
{
	char bytes[4096] = { 0 };
	write(*(int *)with, bytes, sizeof bytes);
}

/* A child that sleeps in a call on a pipe; the parent has both ends, one of them twice. */
static void species_pipe_waited(int writing)
{
	int ends[2];
	char bytes[4096];
	size_t used = 0;
	memset(bytes, 'x', sizeof bytes);
	CHECK(pipe(ends));
	if (writing) {
		CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK));
		for (ssize_t wrote; (wrote = write(ends[1], bytes, sizeof bytes)) > 0;)
			used += wrote;
		CHECK(fcntl(ends[1], F_SETFL, 0));
	}
	int again = CHECK(fcntl(ends[0], F_DUPFD, 20 + seed % 50));
	int capacity = CHECK(fcntl(ends[1], F_GETPIPE_SZ));
	object_of_fd("pipe", "pipe", ends[1], "\tused=%zu\tcapacity=%d\tunit=bytes", used, capacity);
	pid_t pid = writing ? waiter(write_part, &ends[1]) : waiter(read_part, &ends[0]);
	hold_fd("pipe", ends[0], "r");
	hold_fd("pipe", again, "r");
	hold_fd("pipe", ends[1], "w");
	say("hold\tpipe\t%d\tfd\t%d\tr\n", (int)pid, ends[0]);
	say("hold\tpipe\t%d\tfd\t%d\tr\n", (int)pid, again);
	say("hold\tpipe\t%d\tfd\t%d\tw\n", (int)pid, ends[1]);
	say("wait\tpipe\t%d\t%s\n", (int)pid, writing ? "write" : "read");
}

/* Two processes with one table of descriptors. */
static void species_shared_table(void)
{
	int ends[2];
	CHECK(pipe(ends));
	CHECK(write(ends[1], "four", 4));
	object_of_fd("pipe", "pipe", ends[1], "\tused=4\tunit=bytes");
	pid_t pid = CHECK(syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	hold_fd("pipe", ends[0], "r");
	hold_fd("pipe", ends[1], "w");
	say("hold\tpipe\t%d\tfd\t%d\tr\n", (int)pid, ends[0]);
	say("hold\tpipe\t%d\tfd\t%d\tw\n", (int)pid, ends[1]);
}

static void fifo_part(void *with)
{
	hold_fd("fifo", CHECK(open(with, O_WRONLY)), "w");
}

static void species_fifo(void)
{
	char path[256];
	snprintf(path, sizeof path, "%s/fifo", directory);
	CHECK(mkfifo(path, 0640));
	int reader = mine(CHECK(open(path, O_RDONLY | O_NONBLOCK)));
	child(fifo_part, path);
	object_of_fd("fifo", "fifo", reader, "\tname=%s\tused=0\tunit=bytes", path);
	hold_fd("fifo", reader, "r");
}

/* A FIFO held for both directions, and by a descriptor that can do nothing (O_PATH). */
static void species_fifo_both(void)
{
	char path[256];
	snprintf(path, sizeof path, "%s/fifo", directory);
	CHECK(mkfifo(path, 0606));
	int both = CHECK(open(path, O_RDWR));
	int neither = CHECK(open(path, O_PATH));
	CHECK(write(both, directory, seed % 4 + 1));
	object_of_fd("fifo", "fifo", both, "\tname=%s\tused=%u\tcapacity=%d\tunit=bytes", path, seed % 4 + 1,
		     CHECK(fcntl(both, F_GETPIPE_SZ)));
	hold_fd("fifo", both, "rw");
	hold_fd("fifo", neither, "-");
}

static void fifo_opener_part(void *with)
{
	open(with, O_WRONLY);
}

static void species_fifo_opener(void)
{
	char path[256];
	struct stat status;
	snprintf(path, sizeof path, "%s/fifo", directory);
	CHECK(mkfifo(path, 0600));
	CHECK(stat(path, &status));
	say("object\tfifo\tfifo\tdevice=%llu\tinode=%llu\tname=%s\n", (unsigned long long)status.st_dev,
	    (unsigned long long)status.st_ino, path);
	say("wait\tfifo\t%d\topen\t%s\n", (int)waiter(fifo_opener_part, path), path);
}

struct unix_pair { int ends[2]; const char *kind; };

static void unix_part(void *with)
{
	struct unix_pair *pair = with;
	object_of_fd("theirs", pair->kind, pair->ends[1], "\tqueued=%u", seed % 1000);
	hold_fd("theirs", pair->ends[1], "rw");
}

static void species_unix_pair(int type, const char *kind)
{
	struct unix_pair pair = { .kind = kind };
	char bytes[1000] = { 0 };
	CHECK(socketpair(AF_UNIX, type, 0, pair.ends));
	mine(pair.ends[0]);
	if (seed % 1000)
		CHECK(write(pair.ends[0], bytes, seed % 1000));
	child(unix_part, &pair);
	close(pair.ends[1]);
	object_of_fd("ours", kind, pair.ends[0], "\tqueued=0");
	hold_fd("ours", pair.ends[0], "rw");
	say("link\tours\ttheirs\tpeer\n");
}

static socklen_t address(struct sockaddr_un *name, int abstract)
{
	memset(name, 0, sizeof *name);
	name->sun_family = AF_UNIX;
	if (abstract) {
		snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "%s-abstract", prefix);
		return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name->sun_path + 1);
	}
	snprintf(name->sun_path, sizeof name->sun_path, "%s/socket", directory);
	return sizeof *name;
}

static void connect_part(void *with)
{
	struct sockaddr_un *name = with;
	socklen_t length = address(name, name->sun_path[0] == 0);
	int client = CHECK(socket(AF_UNIX, SOCK_STREAM, 0));
	CHECK(connect(client, (struct sockaddr *)name, length));
	object_of_fd("client", "unix", client, "");
	hold_fd("client", client, "rw");
}

static void species_unix_listener(int abstract)
{
	struct sockaddr_un name;
	socklen_t length = address(&name, abstract);
	int listener = mine(CHECK(socket(AF_UNIX, SOCK_STREAM, 0)));
	CHECK(bind(listener, (struct sockaddr *)&name, length));
	CHECK(listen(listener, 5));
	child(connect_part, &name);
	object_of_fd("listener", "unix", listener, "\tname=%s%s\tused=1\tcapacity=5\tunit=connections",
		     abstract ? "@" : "", abstract ? name.sun_path + 1 : name.sun_path);
	hold_fd("listener", listener, "rw");
	say("link\tclient\tlistener\tpending\n");
}

static void accept_part(void *with)
{
	accept(*(int *)with, NULL, NULL);
}

/* A listener in two processes, one of which waits for a connection. */
static void species_unix_accepting(void)
{
	struct sockaddr_un name;
	socklen_t length = address(&name, 0);
	int listener = CHECK(socket(AF_UNIX, SOCK_SEQPACKET, 0));
	CHECK(bind(listener, (struct sockaddr *)&name, length));
	CHECK(listen(listener, 1 + seed % 9));
	object_of_fd("listener", "unix-seqpacket", listener, "\tname=%s\tused=0\tcapacity=%u\tunit=connections",
		     name.sun_path, 1 + seed % 9);
	pid_t pid = waiter(accept_part, &listener);
	hold_fd("listener", listener, "rw");
	say("hold\tlistener\t%d\tfd\t%d\trw\n", (int)pid, listener);
	say("wait\tlistener\t%d\taccept\n", (int)pid);
}

struct knock { int client; struct sockaddr_un name; };

static void knocking_part(void *with)
{
	struct knock *knock = with;
	connect(knock->client, (struct sockaddr *)&knock->name, sizeof knock->name);
}

/* A listener whose queue is full (it holds one more than it was asked for), and a client that waits for room in it. */
static void species_unix_crowd(void)
{
	struct sockaddr_un name;
	socklen_t length = address(&name, 0);
	int listener = mine(CHECK(socket(AF_UNIX, SOCK_STREAM, 0)));
	CHECK(bind(listener, (struct sockaddr *)&name, length));
	CHECK(listen(listener, 0));
	child(connect_part, &name);
	object_of_fd("listener", "unix", listener, "\tname=%s\tused=1\tcapacity=0\tunit=connections", name.sun_path);
	hold_fd("listener", listener, "rw");
	say("link\tclient\tlistener\tpending\n");
	struct knock knock = { .client = CHECK(socket(AF_UNIX, SOCK_STREAM, 0)), .name = name };
	object_of_fd("outside", "unix", knock.client, "");
	pid_t pid = waiter(knocking_part, &knock);
	close(knock.client);
	say("hold\toutside\t%d\tfd\t%d\trw\n", (int)pid, knock.client);
	say("wait\toutside\t%d\tconnect\n", (int)pid);
}

static void species_unix_accepted(void)
{
	struct sockaddr_un name;
	socklen_t length = address(&name, 0);
	int listener = mine(CHECK(socket(AF_UNIX, SOCK_STREAM, 0)));
	CHECK(bind(listener, (struct sockaddr *)&name, length));
	CHECK(listen(listener, 5));
	child(connect_part, &name);
	int server = CHECK(accept(listener, NULL, NULL));
	object_of_fd("listener", "unix", listener, "\tname=%s\tused=0\tcapacity=5\tunit=connections", name.sun_path);
	hold_fd("listener", listener, "rw");
	object_of_fd("server", "unix", server, "");
	hold_fd("server", server, "rw");
	say("link\tclient\tserver\tpeer\n");
}

static void species_unix_datagram(void)
{
	struct sockaddr_un name;
	socklen_t length = address(&name, 0);
	int receiver = CHECK(socket(AF_UNIX, SOCK_DGRAM, 0));
	CHECK(bind(receiver, (struct sockaddr *)&name, length));
	int sender = CHECK(socket(AF_UNIX, SOCK_DGRAM, 0));
	CHECK(connect(sender, (struct sockaddr *)&name, length));
	object_of_fd("receiver", "unix-dgram", receiver, "\tname=%s", name.sun_path);
	hold_fd("receiver", receiver, "rw");
	object_of_fd("sender", "unix-dgram", sender, "");
	hold_fd("sender", sender, "rw");
	say("link\tsender\treceiver\tsends-to\n");
}

static void species_anonymous(void)
{
	int counter = CHECK(eventfd(seed % 1000, EFD_SEMAPHORE));
	object_of_fd("counter", "eventfd", counter, "\tcount=%u\tsemaphore=1", seed % 1000);
	hold_fd("counter", counter, "rw");
	int set = CHECK(epoll_create1(0));
	struct epoll_event event = { .events = EPOLLIN };
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, counter, &event));
	object_of_fd("set", "epoll", set, "");
	hold_fd("set", set, "rw");
	say("link\tset\tcounter\twatches\n");
	int timer = CHECK(timerfd_create(CLOCK_MONOTONIC, 0));
	struct itimerspec when = { .it_value = { .tv_sec = 100000 } };
	CHECK(timerfd_settime(timer, 0, &when, NULL));
	object_of_fd("timer", "timerfd", timer, "");
	hold_fd("timer", timer, "rw");
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR2);
	int signal = CHECK(signalfd(-1, &signals, 0));
	object_of_fd("signal", "signalfd", signal, "\tsignals=%llu", 1ULL << (SIGUSR2 - 1));
	hold_fd("signal", signal, "rw");
	int watcher = CHECK(inotify_init1(0));
	CHECK(inotify_add_watch(watcher, directory, IN_CREATE));
	object_of_fd("watcher", "inotify", watcher, "\twatches=1");
	hold_fd("watcher", watcher, "r");
}

static void species_io_uring(void)
{
	/* The kernel's struct io_uring_params: 120 bytes, of which it wants zeros and fills in the rest. */
	unsigned parameters[30] = { 0 };
	int ring = CHECK((int)syscall(SYS_io_uring_setup, 8, parameters));
	say("object\tring\tio_uring\tentries=%u\tcompletions=%u\n", parameters[0], parameters[1]);
	hold_fd("ring", ring, "rw");
}

static void mapped_part(void *with)
{
	(void)with;
	hold_map("memory", "rw");
}

static void species_memfd(void)
{
	char name[64];
	size_t size = 4096 * (1 + seed % 7);
	snprintf(name, sizeof name, "%s-memfd", prefix);
	int memory = mine(CHECK(memfd_create(name, MFD_ALLOW_SEALING)));
	CHECK(ftruncate(memory, size));
	CHECK(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK));
	if (mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0) == MAP_FAILED)
		fail("mmap");
	object_of_fd("memory", "memfd", memory, "\tname=%s\tsize=%zu\tseals=2", name, size);
	hold_fd("memory", memory, "rw");
	hold_map("memory", "rw");
	child(mapped_part, NULL);
}

static void species_posix_shm(void)
{
	char name[64];
	size_t size = 4096 * (1 + seed % 7);
	snprintf(name, sizeof name, "/%s-shm", prefix);
	int memory = CHECK(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0640));
	CHECK(ftruncate(memory, size));
	if (mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0) == MAP_FAILED)
		fail("mmap");
	object_of_fd("memory", "shm", memory, "\tname=%s\tsize=%zu\tmode=416", name, size);
	close(memory);
	hold_map("memory", "rw");
	child(mapped_part, NULL);
}

static void sem_part(void *with)
{
	sem_wait(with);
}

static void species_posix_sem(int waited)
{
	char name[64], path[96];
	struct stat status;
	snprintf(name, sizeof name, "/%s-sem", prefix);
	snprintf(path, sizeof path, "/dev/shm/sem.%s", name + 1);
	unsigned value = waited ? 0 : 1 + seed % 100;
	sem_t *semaphore = sem_open(name, O_CREAT | O_EXCL, 0600, value);
	if (semaphore == SEM_FAILED)
		fail("sem_open");
	CHECK(stat(path, &status));
	say("object\tsem\tsem\tdevice=%llu\tinode=%llu\tname=%s\tvalue=%u\tmode=384\n", (unsigned long long)status.st_dev,
	    (unsigned long long)status.st_ino, name, value);
	hold_map("sem", "rw");
	if (waited) {
		pid_t pid = waiter(sem_part, semaphore);
		say("hold\tsem\t%d\tmap\trw\n", (int)pid);
		say("wait\tsem\t%d\tfutex\n", (int)pid);
	}
}

static void mq_part(void *with)
{
	hold_fd("queue", *(int *)with, "rw");
}

static void species_posix_mq(void)
{
	char *name = posix_queue;
	unsigned messages = seed % 5;
	snprintf(name, sizeof posix_queue, "/%s-mq", prefix);
	struct mq_attr size = { .mq_maxmsg = 5, .mq_msgsize = 64 };
	mqd_t queue = CHECK(mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &size));
	for (unsigned i = 0; i < messages; i++)
		CHECK(mq_send(queue, "four", 4, i));
	object_of_fd("queue", "mq", queue, "\tname=%s\tused=%u\tcapacity=5\tunit=messages\tbytes=%u\tmode=384", name,
		     messages, messages * 4);
	hold_fd("queue", queue, "rw");
	int fd = queue;
	child(mq_part, &fd);
}

static void receive_part(void *with)
{
	char bytes[64];
	mq_receive(*(int *)with, bytes, sizeof bytes, NULL);
}

/* A queue that a process waits for; or one of which a process wants to be told, which no process may wait for. */
static void species_posix_mq_awaited(int notified)
{
	char *name = posix_queue;
	snprintf(name, sizeof posix_queue, "/%s-mq", prefix);
	struct mq_attr size = { .mq_maxmsg = 3, .mq_msgsize = 64 };
	mqd_t queue = CHECK(mq_open(name, O_RDONLY | O_CREAT | O_EXCL, 0620, &size));
	int fd = queue;
	object_of_fd("queue", "mq", queue, "\tname=%s\tused=0\tcapacity=3\tunit=messages\tbytes=0\tmode=%u", name,
		     0620 & ~umask(0));
	hold_fd("queue", queue, "r");
	if (notified) {
		struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
		CHECK(mq_notify(queue, &event));
		say("notified\tqueue\t%d\n", (int)getpid());
	} else {
		pid_t pid = waiter(receive_part, &fd);
		say("hold\tqueue\t%d\tfd\t%d\tr\n", (int)pid, fd);
		say("wait\tqueue\t%d\tread\n", (int)pid);
	}
}

static void attach_part(void *with)
{
	if (shmat(*(int *)with, NULL, SHM_RDONLY) == (void *)-1)
		fail("shmat");
	hold_map("segment", "r");
}

static void species_sysv_shm(int removed)
{
	size_t size = 4096 * (1 + seed % 7);
	int id = segment = CHECK(shmget(IPC_PRIVATE, size, 0600));
	if (shmat(id, NULL, 0) == (void *)-1)
		fail("shmat");
	hold_map("segment", "rw");
	/* The child inherits our attachment beside its own. */
	pid_t pid = child(attach_part, &id);
	say("hold\tsegment\t%d\tmap\trw\n", (int)pid);
	if (removed) {
		CHECK(shmctl(id, IPC_RMID, NULL));
		segment = -1;
	}
	say("object\tsegment\tsysv-shm\tid=%d\tsize=%zu\tmode=384\tattached=3\tremoved=%d\n", id, size, removed);
	say("remembered\tsegment\t%d\tcreator\n", (int)getpid());
	say("remembered\tsegment\t%d\tlast-attached\n", (int)pid);
}

/* A segment that its maker has left: the kernel remembers a process that is there no more, which nobody may be blamed
 * for. */
static void species_sysv_shm_left(void)
{
	int told[2];
	CHECK(pipe(told));
	pid_t pid = CHECK(fork());
	if (pid == 0) {
		int id = shmget(IPC_PRIVATE, 4096, 0640);
		_exit(write(told[1], &id, sizeof id) != sizeof id);
	}
	CHECK(waitpid(pid, NULL, 0));
	if (read(told[0], &segment, sizeof segment) != sizeof segment)
		fail("read");
	close(told[0]);
	close(told[1]);
	CHECK(segment);
	say("object\tsegment\tsysv-shm\tid=%d\tsize=4096\tmode=416\tattached=0\tremoved=0\n", segment);
}

static void msg_part(void *with)
{
	struct { long type; char text[8]; } message;
	msgrcv(*(int *)with, &message, sizeof message.text, 7, 0);
}

static void room_part(void *with)
{
	struct { long type; char text[64]; } message = { 9, "too much" };
	msgsnd(*(int *)with, &message, sizeof message.text, 0);
}

/* A queue without room, and a sender that waits for it. */
static void species_sysv_msg_full(void)
{
	struct { long type; char text[64]; } message = { 3, "payload" };
	struct msqid_ds status;
	int id = queue = CHECK(msgget(IPC_PRIVATE, 0600));
	unsigned messages = 1 + seed % 5;
	CHECK(msgctl(id, IPC_STAT, &status));
	status.msg_qbytes = messages * sizeof message.text;
	CHECK(msgctl(id, IPC_SET, &status));
	for (unsigned i = 0; i < messages; i++)
		CHECK(msgsnd(id, &message, sizeof message.text, 0));
	say("object\tqueue\tsysv-mq\tid=%d\tused=%zu\tcapacity=%zu\tunit=bytes\tmessages=%u\tmode=384\n", id,
	    messages * sizeof message.text, messages * sizeof message.text, messages);
	say("remembered\tqueue\t%d\tlast-sender\n", (int)getpid());
	say("wait\tqueue\t%d\troom\t64\n", (int)waiter(room_part, &id));
}

static void species_sysv_msg(int waited)
{
	struct { long type; char text[8]; } message = { 3, "payload" };
	unsigned messages = 1 + seed % 5;
	int id = queue = CHECK(msgget(IPC_PRIVATE, 0600));
	struct msqid_ds status;
	for (unsigned i = 0; i < messages; i++)
		CHECK(msgsnd(id, &message, sizeof message.text, 0));
	CHECK(msgctl(id, IPC_STAT, &status));
	say("object\tqueue\tsysv-mq\tid=%d\tused=%u\tcapacity=%lu\tunit=bytes\tmessages=%u\tmode=384\n", id, messages * 8,
	    (unsigned long)status.msg_qbytes, messages);
	say("remembered\tqueue\t%d\tlast-sender\n", (int)getpid());
	if (waited)
		say("wait\tqueue\t%d\tmessage\t7\n", (int)waiter(msg_part, &id));
}

static void semop_part(void *with)
{
	struct sembuf take = { 1, -1, 0 };
	semop(*(int *)with, &take, 1);
}

static void species_sysv_sem(int waited)
{
	unsigned short values[3] = { 1 + seed % 100, 0, 5 };
	int id = set = CHECK(semget(IPC_PRIVATE, 3, 0600));
	CHECK(semctl(id, 0, SETALL, values));
	struct sembuf give = { 2, 1, 0 };
	CHECK(semop(id, &give, 1));
	say("object\tset\tsysv-sem\tid=%d\tcount=3\tvalues=%u,0,6\tmode=384\n", id, values[0]);
	say("remembered\tset\t%d\tlast-operator\n", (int)getpid());
	if (waited)
		say("wait\tset\t%d\tsemaphores\t1:-1\n", (int)waiter(semop_part, &id));
}

enum lock { FLOCK, POSIX, OFD, LEASE };

static void take(int fd, enum lock kind, int wait)
{
	struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5 };
	int result = kind == FLOCK ? flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB))
		   : kind == POSIX ? fcntl(fd, wait ? F_SETLKW : F_SETLK, &range)
		   : kind == OFD ? fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range)
		   : fcntl(fd, F_SETLEASE, F_RDLCK);
	if (result == -1 && !wait)
		fail("lock");
}

static const char *const lock_names[] = { "flock", "posix", "ofd", "lease" };

static void tell_lock(enum lock kind, pid_t pid, const char *state)
{
	const char *range = kind == FLOCK || kind == LEASE ? "" : "\t10\t14";
	say("lock\tfile\t%d\t%s\t%s%s\n", (int)pid, lock_names[kind], state, range);
}

struct contest { char path[256]; enum lock kind; };

static void contest_part(void *with)
{
	struct contest *contest = with;
	take(CHECK(open(contest->path, O_RDWR)), contest->kind, 1);
}

/* A file that one process has locked, and for which others wait in line. */
static void species_lock(int kind)
{
	struct contest contest = { .kind = kind };
	snprintf(contest.path, sizeof contest.path, "%s/locked", directory);
	int fd = mine(CHECK(open(contest.path, O_RDWR | O_CREAT, 0600)));
	if (kind == LEASE) {
		/* Only who has the file open for reading alone may have a lease for reading. */
		close(fd);
		fd = CHECK(open(contest.path, O_RDONLY));
	}
	object_of_fd("file", "file", fd, "\tname=%s", contest.path);
	take(fd, kind, 0);
	tell_lock(kind, getpid(), "held");
	for (unsigned waiting = kind == LEASE ? 0 : seed % 3; waiting > 0; waiting--) {
		pid_t pid = waiter(contest_part, &contest);
		tell_lock(kind, pid, "waiting");
		say("wait\tfile\t%d\tlock\n", (int)pid);
	}
}

static void inherited_part(void *with)
{
	tell_lock(*(int *)with, getpid(), "held");
}

/* A lock that belongs to an open file, which two processes have; or only the child, while the one that took it lives. */
static void species_lock_inherited(int kind)
{
	char path[256];
	snprintf(path, sizeof path, "%s/locked", directory);
	int fd = CHECK(open(path, O_RDWR | O_CREAT, 0600));
	object_of_fd("file", "file", fd, "\tname=%s", path);
	take(fd, kind, 0);
	child(inherited_part, &kind);
	if (seed % 2)
		close(fd);
	else
		tell_lock(kind, getpid(), "held");
}

/* Processes that share a lock of one range, each by an open file of its own, so that nothing tells their locks apart but
 * who has them. */
struct reader { char path[256]; enum lock kind; };

static void share(struct reader *reader)
{
	struct flock range = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5 };
	int fd = CHECK(open(reader->path, O_RDONLY));
	CHECK(reader->kind == FLOCK ? flock(fd, LOCK_SH) : fcntl(fd, reader->kind == OFD ? F_OFD_SETLK : F_SETLK, &range));
	say("lock\tfile\t%d\t%s\tshared%s\n", (int)getpid(), lock_names[reader->kind],
	    reader->kind == FLOCK ? "" : "\t10\t14");
}

static void share_part(void *with)
{
	share(with);
}

static void species_lock_shared(int kind)
{
	struct reader reader = { .kind = kind };
	snprintf(reader.path, sizeof reader.path, "%s/locked", directory);
	int made = CHECK(open(reader.path, O_RDWR | O_CREAT, 0600));
	object_of_fd("file", "file", made, "\tname=%s", reader.path);
	close(made);
	for (unsigned others = 1 + seed % 3; others > 0; others--)
		child(share_part, &reader);
	share(&reader);
}

/* A shared memory object can be locked as any file. */
static void species_shm_locked(void)
{
	char name[64];
	snprintf(name, sizeof name, "/%s-shm", prefix);
	int memory = mine(CHECK(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600)));
	CHECK(ftruncate(memory, 8192));
	object_of_fd("file", "shm", memory, "\tname=%s\tsize=8192\tmode=384", name);
	hold_fd("file", memory, "rw");
	take(memory, FLOCK, 0);
	tell_lock(FLOCK, getpid(), "held");
}

static void unlinked_part(void *with)
{
	hold_fd("memory", *(int *)with, "rw");
	hold_map("memory", "r");
}

/* The name has gone, the memory has not. */
static void species_shm_unlinked(void)
{
	char name[64];
	snprintf(name, sizeof name, "/%s-shm", prefix);
	int memory = CHECK(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	CHECK(ftruncate(memory, 8192));
	CHECK(shm_unlink(name));
	if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, memory, 0) == MAP_FAILED)
		fail("mmap");
	object_of_fd("memory", "shm", memory, "\tname=%s\tsize=8192\tmode=384\tunlinked=1", name);
	hold_fd("memory", memory, "rw");
	hold_map("memory", "r");
	child(unlinked_part, &memory);
}

static void species_anonymous_shm(void)
{
	if (mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		fail("mmap");
	say("object\tmemory\tanon-shm\tsize=8192\n");
	hold_map("memory", "rw");
	child(mapped_part, NULL);
}

int main(int count, char **words)
{
	/* Whether this machine has rings for us: some have switched them off. */
	if (count == 2 && !strcmp(words[1], "has-io-uring"))
		return syscall(SYS_io_uring_setup, 1, NULL) != -1 || errno == EFAULT ? 0 : 1;
	if (count != 5)
		return 2;
	const char *species = words[1];
	directory = words[2];
	prefix = words[3];
	seed = strtoul(words[4], NULL, 10);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	/* Modes are as they are told. */
	umask(0);
	struct { const char *name; void (*make)(int); int with; } plain[] = {
		{ "pipe", species_pipe, 0 },
		{ "pipe-full", species_pipe, 1 },
		{ "unix-listener", species_unix_listener, 0 },
		{ "unix-abstract", species_unix_listener, 1 },
		{ "posix-sem", species_posix_sem, 0 },
		{ "posix-sem-waited", species_posix_sem, 1 },
		{ "sysv-shm", species_sysv_shm, 0 },
		{ "sysv-shm-removed", species_sysv_shm, 1 },
		{ "sysv-msg", species_sysv_msg, 0 },
		{ "sysv-msg-waited", species_sysv_msg, 1 },
		{ "sysv-sem", species_sysv_sem, 0 },
		{ "sysv-sem-waited", species_sysv_sem, 1 },
		{ "flock", species_lock, FLOCK },
		{ "posix-lock", species_lock, POSIX },
		{ "ofd-lock", species_lock, OFD },
		{ "lease", species_lock, LEASE },
		{ "flock-inherited", species_lock_inherited, FLOCK },
		{ "ofd-lock-inherited", species_lock_inherited, OFD },
		{ "flock-shared", species_lock_shared, FLOCK },
		{ "ofd-lock-shared", species_lock_shared, OFD },
		{ "posix-lock-shared", species_lock_shared, POSIX },
		{ "pipe-reader-waits", species_pipe_waited, 0 },
		{ "pipe-writer-waits", species_pipe_waited, 1 },
		{ "posix-mq-waited", species_posix_mq_awaited, 0 },
		{ "posix-mq-notified", species_posix_mq_awaited, 1 },
	};
	struct { const char *name; void (*make)(void); } simple[] = {
		{ "fifo", species_fifo },
		{ "fifo-opener", species_fifo_opener },
		{ "unix-accepted", species_unix_accepted },
		{ "unix-datagram", species_unix_datagram },
		{ "anonymous", species_anonymous },
		{ "memfd", species_memfd },
		{ "posix-shm", species_posix_shm },
		{ "posix-mq", species_posix_mq },
		{ "anonymous-shm", species_anonymous_shm },
		{ "fifo-both", species_fifo_both },
		{ "io-uring", species_io_uring },
		{ "posix-shm-locked", species_shm_locked },
		{ "posix-shm-unlinked", species_shm_unlinked },
		{ "shared-table", species_shared_table },
		{ "sysv-msg-full", species_sysv_msg_full },
		{ "sysv-shm-left", species_sysv_shm_left },
		{ "unix-accepting", species_unix_accepting },
		{ "unix-crowd", species_unix_crowd },
	};
	struct { const char *name; int type; const char *kind; } pairs[] = {
		{ "unix-stream", SOCK_STREAM, "unix" },
		{ "unix-dgram", SOCK_DGRAM, "unix-dgram" },
		{ "unix-seqpacket", SOCK_SEQPACKET, "unix-seqpacket" },
	};
	int made = 0;
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
		if (!strcmp(species, plain[i].name))
			plain[i].make(plain[i].with), made = 1;
	for (size_t i = 0; i < sizeof simple / sizeof *simple; i++)
		if (!strcmp(species, simple[i].name))
			simple[i].make(), made = 1;
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
		if (!strcmp(species, pairs[i].name))
			species_unix_pair(pairs[i].type, pairs[i].kind), made = 1;
	if (!made) {
		fprintf(stderr, "keeper: no species %s\n", species);
		return 2;
	}
	say("ready\n");
	char byte;
	while (read(0, &byte, 1) > 0)
		;
	remove_all();
	return 0;
}
