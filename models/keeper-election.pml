/*
 * The election of a name's host: crates/tieline-shm/src/rendezvous (station.rs, join.rs, lock.rs).
 *
 * N processes. Each joins the name (open or create), may die at any step (`kill -9`: the kernel lets go of its locks and
 * closes its socket, in any order), may leave, and as a member takes part in elections. One step is one system call.
 *
 * What is modelled: the lock file with its bytes 0 (host), 1 (members) and 2 (joining), and that the last one removes
 * it, so that a lock may be on a file that has lost its name; the socket with its name, what object the listener behind
 * it serves, and that connecting needs a listener that lives. What is not: how long pauses are (a try may happen at any
 * time), and the lines of pairs, which need no host.
 *
 * What must hold:
 *   ONE   two living processes are never both host of the name as it is found (same lock file, listening).
 *   SAME  a joiner that was welcomed, and the members that hold byte 1 of the file with the name, are all in one object,
 *         so nobody founds a second object beside living members.
 *   END   nobody waits for ever: where no process can go on, all have joined, left or died (Spin's invalid end states).
 *
 * Negative controls, each of which must fail:
 *   -DNO_MEMBER_BYTE  who takes byte 0 does not ask for members: a creator founds a second object  (SAME)
 *   -DNO_NAME_CHECK   a lock is believed though the file may have lost its name: two hosts         (ONE or SAME)
 *   -DNO_LOCK         who wants to host just binds                                                 (ONE)
 *
 * How to run: models/README.md.
 */

#ifndef N
#define N 3
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#define FILES 4        /* lock files over the whole run; a removed one is never used again */
#define NONE 255

byte named = 0;        /* the lock file that has the name now */
byte files = 1;        /* how many were made */
byte host_of[FILES];   /* byte 0: who holds it */
byte members[FILES];   /* byte 1: a bit for each holder */
byte joining[FILES];   /* byte 2: a bit for each holder */

byte listener = NONE;  /* whose socket has the name; it may be a dead one's */
byte object[N];        /* which object each process is in; 0: none */
byte objects = 0;      /* how many were founded */
bool alive[N];
bool serves[N];        /* listens, as the host */
byte deaths = 0;

#define bit(p) (1 << (p))
#define others(set, p) ((set) & ~bit(p))

/* A death may come before any step. The kernel closes what the process had open one by one, so the locks and the
   listener go in either order; others may act in between. */
#define may_die(p, f) \
    if \
    :: deaths < DEATHS -> deaths++; goto die; \
    :: skip; \
    fi

inline check_hosts() {
    d_step {
        byte h = 0;
        byte count = 0;
        do
        :: h < N ->
            if
            :: alive[h] && serves[h] && listener == h -> count++;
            :: alive[h] && serves[h] && listener != h && named != NONE && host_of[named] == h -> count++;
            :: else;
            fi;
            h++;
        :: else -> break;
        od;
        assert(count <= 1);           /* ONE */
        h = 0; count = 0;
    }
}

inline check_objects() {
    d_step {
        byte a = 0;
        byte seen = 0;
        do
        :: a < N ->
            if
            :: named != NONE && alive[a] && object[a] != 0 && (members[named] & bit(a)) ->
                assert(seen == 0 || seen == object[a]);   /* SAME */
                seen = object[a];
            :: else;
            fi;
            a++;
        :: else -> break;
        od;
        a = 0; seen = 0;
    }
}

proctype process(byte p) {
    byte f = 0;            /* the lock file we have open */
    byte other;

join:                       /* LockFile::open, with O_CREAT */
    may_die(p, f);
    atomic {
        if
        :: named != NONE -> f = named;
        :: named == NONE && files < FILES -> f = files; files++; named = f; host_of[f] = NONE;
        :: named == NONE && files >= FILES -> goto gave_up;   /* the model's bound */
        fi;
    }
    may_die(p, f);
    joining[f] = joining[f] | bit(p);                          /* byte 2 */
    if
    :: f != named -> joining[f] = others(joining[f], p); goto join;
    :: else;
    fi;
    may_die(p, f);
    /* ask: the listener behind the name answers, if it lives */
    atomic {
        if
        :: listener != NONE && alive[listener] && serves[listener] ->
            object[p] = object[listener];                      /* Welcome */
        :: else -> object[p] = 0;
        fi;
    }
    if
    :: object[p] != 0 ->
        may_die(p, f);
        members[f] = members[f] | bit(p);                      /* byte 1, still under byte 2 */
        joining[f] = others(joining[f], p);
        goto member;
    :: else ->
        joining[f] = others(joining[f], p);
    fi;
    may_die(p, f);
    if
    :: skip;               /* creates */
    :: goto remove;        /* only opens, and leaves what the last one may have left to it */
    fi;
    /* take: byte 0, if it is free */
    atomic {
#ifndef NO_LOCK
        if
        :: host_of[f] == NONE -> host_of[f] = p;
        :: else -> goto join_again;
        fi;
#else
        host_of[f] = p;
#endif
    }
    may_die(p, f);
#ifndef NO_NAME_CHECK
    if
    :: f != named -> host_of[f] = NONE; goto join;
    :: else;
    fi;
#endif
#ifndef NO_MEMBER_BYTE
    /* Somebody who is just joining gets a while to become a member, or to give up: then we look at the members. */
    joining[f] == 0;
    if
    :: others(members[f], p) != 0 -> host_of[f] = NONE; goto join_again;
    :: else;
    fi;
#endif
    may_die(p, f);
    atomic { objects++; object[p] = objects; }
    members[f] = members[f] | bit(p);
    goto bind;

join_again:                 /* a pause; it ends when anything has changed for the better */
    if
    :: (listener != NONE && alive[listener] && serves[listener]) -> goto join;
    :: host_of[f] == NONE -> goto join;
    :: f != named -> goto join;
    fi;

bind:                       /* byte 0 is ours: bind, listen, rename */
    may_die(p, f);
    atomic {
        serves[p] = true;
        listener = p;
        check_hosts();
        check_objects();
    }
    goto host;

member:
    check_objects();
    if
    :: may_die(p, f); goto member_waits;
    :: goto leave;
    fi;

member_waits:               /* in epoll, until the host's line goes down */
    if
    :: listener == NONE || !alive[listener] || !serves[listener] -> goto seek;
    :: goto leave;
    fi;

seek:
    may_die(p, f);
    /* The file with the name is ours while we hold byte 1; the check is there for those who clean up by hand. */
    atomic {
#ifndef NO_LOCK
        if
        :: host_of[f] == NONE -> host_of[f] = p; goto bind;
        :: else;
        fi;
#else
        host_of[f] = p; goto bind;
#endif
    }
    may_die(p, f);
    atomic {                /* connect and register again */
        if
        :: listener != NONE && alive[listener] && serves[listener] ->
            assert(object[listener] == object[p]);             /* SAME: never "Stale" */
            goto member;
        :: else;
        fi;
    }
    if                      /* a pause */
    :: host_of[f] == NONE -> goto seek;
    :: listener != NONE && alive[listener] && serves[listener] -> goto seek;
    fi;

host:
    may_die(p, f);
    /* The host has nothing else to do here, and may stay for ever. */
end_host:
    if
    :: goto leave;
    :: deaths < DEATHS -> deaths++; goto die;
    fi;

leave:                      /* the lock goes before the lines; then the files, if nobody wants them */
    if
    :: host_of[f] == p -> serves[p] = false; host_of[f] = NONE;
    :: else;
    fi;
    members[f] = others(members[f], p);
    object[p] = 0;

remove:                     /* with no lock held: who looks last sees that the others have let go */
    if
    :: (members[f] | joining[f]) != 0 -> goto gone;
    :: else;
    fi;
    atomic {
        if
        :: host_of[f] == NONE -> host_of[f] = p;
        :: else -> goto gone;
        fi;
    }
    if
    :: (members[f] | joining[f]) != 0 || f != named -> host_of[f] = NONE; goto gone;
    :: else;
    fi;
    if
    :: listener != NONE && !serves[listener] -> listener = NONE;
    :: else;
    fi;
    named = NONE;
    host_of[f] = NONE;
    goto gone;

die:                        /* the threads stop; then the kernel closes listener and locks, in either order */
    alive[p] = false;
    if
    :: serves[p] = false;
       atomic { if :: host_of[f] == p -> host_of[f] = NONE; :: else; fi; }
       members[f] = others(members[f], p);
    :: atomic { if :: host_of[f] == p -> host_of[f] = NONE; :: else; fi; }
       members[f] = others(members[f], p);
       serves[p] = false;
    fi;
    joining[f] = others(joining[f], p);
    object[p] = 0;
    goto over;

gone:
    alive[p] = false;
gave_up:
over:
    skip;
}

init {
    byte p = 0;
    atomic {
        host_of[0] = NONE; host_of[1] = NONE; host_of[2] = NONE; host_of[3] = NONE;
        do
        :: p < N -> alive[p] = true; run process(p); p++;
        :: else -> break;
        od;
    }
}
