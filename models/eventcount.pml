/* The wake-up protocol of crates/tieline-shm/src/wait/event_count.rs, with what loom cannot show: the store buffer of
 * a notifier that uses no fence, and the barrier that a sleeper makes it pass instead.
 *
 * NOTIFIERS processes raise their number ROUNDS times each; SLEEPERS threads and one owner of a doorbell wait for
 * every value of all of them. A calm waiter may let notifiers off their fence at any moment that allows it, CALMS times.
 * With -DDEATH notifier 0 may die at any point of waking, after which a keeper tells everyone.
 *
 * A lost wake-up is an invalid end state: somebody sleeps for ever.
 *
 * Run:      models/check.sh
 * Controls: -DNO_BARRIER      the first sleeper makes nobody pass a barrier
 *           -DTRUST_FENCE     a sleeper that finds FENCE set takes it for settled
 *           -DNO_EPOCH        a barrier settles whatever FENCE stands there when it is done
 *           -DTURN_FIRST      the turn is counted before the announcement is taken off
 *           -DNO_SECOND_LOOK  a sleeper does not look again after announcing
 *           -DNO_DEATH_WAKE   nobody is woken when a notifier dies
 * Each of them must fail.
 */

#ifndef NOTIFIERS
#define NOTIFIERS 1
#endif
#ifndef SLEEPERS
#define SLEEPERS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef CALMS
#define CALMS 1
#endif

/* What changes: as memory has it, and as it stands in the store buffer of who changed it. */
byte value[NOTIFIERS];
byte buffered[NOTIFIERS];
bool is_buffered[NOTIFIERS];

/* EventCount.state; every change of it is one atomic step, as the processor does it. */
bool asleep, fence, settled, bell;
byte epoch;
/* EventCount.turn, and who sleeps on it. */
byte turn;
bool sleeps[SLEEPERS];
/* The doorbell's counter. */
byte rung;

bool died, dead;

/* A store buffer empties when it likes ... */
active proctype Memory() {
    byte n;
end:
    do
    :: atomic { is_buffered[0] -> value[0] = buffered[0]; is_buffered[0] = false }
#if NOTIFIERS > 1
    :: atomic { is_buffered[1] -> value[1] = buffered[1]; is_buffered[1] = false }
#endif
    od
}

/* ... at a fence or locked instruction of its own processor ... */
inline drain(n) {
    d_step { if :: is_buffered[n] -> value[n] = buffered[n]; is_buffered[n] = false :: else fi }
}

/* ... and when another makes every processor pass one. */
inline barrier() {
#ifndef NO_BARRIER
    d_step {
        if :: is_buffered[0] -> value[0] = buffered[0]; is_buffered[0] = false :: else fi;
#if NOTIFIERS > 1
        if :: is_buffered[1] -> value[1] = buffered[1]; is_buffered[1] = false :: else fi
#endif
    }
#else
    skip
#endif
}

inline futex_wake() {
    d_step {
        sleeps[0] = false;
#if SLEEPERS > 1
        sleeps[1] = false
#endif
    }
}

#ifdef DEATH
#define MAY_DIE :: (number == 0) -> died = true; goto gone
#else
#define MAY_DIE
#endif

proctype Notifier(byte number) {
    byte n = number;
    byte round = 1;
    bool looked, was_asleep, was_bell;
    do
    :: round > ROUNDS -> break
    :: else ->
        /* The change: a plain store. At most one is buffered at a time, a later one finds the buffer drained. */
        atomic { !is_buffered[n] -> buffered[n] = round; is_buffered[n] = true };
        /* notify: one load. */
        looked = asleep || fence || bell;
        if
        :: !looked
        :: else ->
            /* notify_fenced */
            drain(n);
            looked = asleep || bell;
            if
            :: !looked
            :: else ->
                /* wake */
#ifdef TURN_FIRST
                atomic { drain(n); turn++ };
#endif
                atomic { drain(n); was_asleep = asleep; was_bell = bell; asleep = false; bell = false };
                if MAY_DIE :: true fi;
                if
                :: was_asleep ->
#ifndef TURN_FIRST
                    turn++;
#endif
                    if MAY_DIE :: true fi;
                    futex_wake()
                :: else
                fi;
                if MAY_DIE :: true fi;
                if :: was_bell -> rung++ :: else fi
            fi
        fi;
        round++
    od;
    /* Two rounds of one notifier differ from two notifiers only in what stays buffered. */
gone:
    skip
}

#if NOTIFIERS > 1
#define REACHED(goal) ((value[0] >= goal && value[1] >= goal) || dead)
#else
#define REACHED(goal) (value[0] >= goal || dead)
#endif

inline announce(who) {
    atomic {
        who = true;
#ifdef TRUST_FENCE
        was_settled = fence;
#else
        was_settled = settled;
#endif
        fence = true;
        my_epoch = epoch
    };
    if
    :: was_settled
    :: else ->
        barrier();
        /* settle: the exchange succeeds only if this FENCE still stands. */
#ifdef NO_EPOCH
        atomic { settled = true }
#else
        atomic { if :: fence && epoch == my_epoch -> settled = true :: else fi }
#endif
    fi
}

proctype Sleeper(byte me) {
    byte goal = 1;
    byte my_turn, my_epoch;
    bool was_settled;
    do
    :: goal > ROUNDS -> break
    :: else ->
        if
        :: REACHED(goal) -> goal++
        :: else ->
            my_turn = turn;
            announce(asleep);
#ifndef NO_SECOND_LOOK
            if
            :: REACHED(goal) -> goal++
            :: else ->
#endif
                /* futex_wait: comparing and falling asleep are one step. */
                atomic { if :: turn == my_turn -> sleeps[me] = true :: else fi };
                !sleeps[me]
#ifndef NO_SECOND_LOOK
            fi
#endif
        fi
    od
}

proctype Owner() {
    byte goal = 1;
    byte seen, my_epoch;
    bool was_settled;
    do
    :: goal > ROUNDS -> break
    :: else ->
        if
        :: REACHED(goal) -> goal++
        :: else ->
            announce(bell);
            if
            :: REACHED(goal) -> goal++
            :: else ->
                rung != seen;
                seen = rung
            fi
        fi
    od
}

/* A waiter that has met its events awake for a while. */
proctype Calm() {
    byte left = CALMS;
end:
    do
    :: atomic {
            left > 0 && fence && settled && !asleep && !bell -> fence = false; settled = false; epoch++; left--
        }
    od
}

#ifdef DEATH
active proctype Keeper() {
end:
    died;
    /* What the dead one stored is in memory: its processor went on to other work. */
    drain(0);
    dead = true;
#ifndef NO_DEATH_WAKE
    /* wake_after_death */
    turn++;
    futex_wake();
    rung++
#endif
}
#endif

init {
    byte i = 0;
    atomic {
        do :: i < NOTIFIERS -> run Notifier(i); i++ :: else -> break od;
        i = 0;
        do :: i < SLEEPERS -> run Sleeper(i); i++ :: else -> break od;
        run Owner();
        run Calm()
    }
}
