"""The observer: turns the difference between what the database says and what the cloud says into guarded
writes and doorbells.

One runs in every worker, and one of them leads. It lists first and reads our rows second; it decides
nothing that the table of states does not hold; and whatever it does not get done, it finds again at its
next tick.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from jobs.errors import ApiError, DatabaseError
from jobs.store import ending, leases, observing
from jobs.store.admission import Limits
from jobs.store.ending import Wanted
from jobs.store.news import News
from jobs.store.observing import Listed, Sighting
from jobs.store.transitions import Lead, Stale
from workers.cloud.shapes import Instance, Listing
from workers.complaint import Complaint
from workers.steps.awake import Awake
from workers.steps.context import Context
from workers.steps.housekeeping import Housekeeping

log = logging.getLogger(__name__)

HURRIED, CALM, QUIET = 1.0, 10.0, 30.0
"""Seconds between listings: while something is about to change, while all is running, and with nothing."""
BUSINESS_SECONDS = 1.0
"""How often what time itself brings about is looked at, news or not."""
RING_AGAIN_SECONDS = 2.0
LISTING_SECONDS = 10.0
"""For a listing and the questions that it leaves, together."""
RENEW_SECONDS = leases.LEASE.total_seconds() / 3
LEAST_PAUSE_SECONDS = 0.1
FEW = 8
"""For so many orphans a bell each is rung."""
MANY, SHARE, SHARE_SECONDS = 200, 50, 0.5
"""Of so many orphans so many are taken at once, and again so often: the other workers get theirs."""
LEAVE_SECONDS = 3.0
CLOCKS_DIFFER = timedelta(seconds=60)
MOST_QUESTIONS = 5
"""How many missing machines are asked for by uuid after one listing."""


class Observer:
    """One thread that leads, or waits until it may."""

    def __init__(self, ctx: Context, offer: Callable[[Collection[str]], int]) -> None:
        self._ctx = ctx
        self._offer = offer
        self._bounds = Limits(ctx.settings.max_instances, ctx.settings.max_burn)
        self._awake = Awake()
        self._housekeeping = Housekeeping(ctx)
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._ear: threading.Thread | None = None
        self._lead: Lead | None = None
        self._renew_at = 0.0
        self._last_began = 0.0
        self._next_listing = 0.0
        self._next_offer = 0.0
        self._first_seen: dict[str, datetime] = {}
        self._rung: dict[str, float] = {}
        self._told: str | None = None
        self._trouble = Complaint(log, "nothing can be decided", "decisions go on")
        self._clocks_differ = False
        self.on_news: list[threading.Event] = []

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._ear = threading.Thread(target=self._hear, name="news", daemon=True)
        self._thread.start()
        self._ear.start()

    def look_at_cloud(self) -> None:
        """List at the next opportunity: something happened out there."""
        self._next_listing = min(self._next_listing, self._last_began + HURRIED / 2)
        self._woken.set()

    def close(self) -> None:
        """Begin to stop."""
        self._ctx.stopping.set()
        self._woken.set()

    def stop(self) -> None:
        """Wait until the tick that is under way is over, but not for an API that does not answer."""
        self._ctx.stopping.set()
        self._woken.set()
        for thread in (self._thread, self._ear):
            if thread is not None:
                thread.join(LEAVE_SECONDS)

    def _hear(self) -> None:
        """Learn of what other processes wrote: a new job starts without anyone ringing."""
        stopping = self._ctx.stopping
        while not stopping.is_set():
            try:
                with News(self._ctx.db) as news:
                    while not stopping.is_set():
                        if news.wait(5.0, stopping):
                            self._woken.set()
                            for event in self.on_news:
                                event.set()
            except DatabaseError as error:
                log.warning("no news: %s", error)
            except Exception:
                log.exception("no news")  # whatever it is: without us a new job waits for the next tick
            stopping.wait(1.0)

    def _run(self) -> None:
        try:
            self._look_again_and_again()
        finally:
            self._give_up_the_lead()

    def _give_up_the_lead(self) -> None:
        """Another worker leads at once, while this one still hands back what it attends to."""
        try:
            leases.release_lead(self._ctx.db, self._ctx.owner)
        except DatabaseError as error:
            log.warning("the lead runs out by itself: %s", error)

    def _look_again_and_again(self) -> None:
        while not self._ctx.stopping.is_set():
            pause = BUSINESS_SECONDS
            try:
                self._keep_lead()
                awake_since = self._awake.look(self._ctx.db.clock())  # also of one that waits to lead
                if self._lead is None:
                    pause = self._take_what_waits()
                else:
                    self._tick(self._lead, awake_since)
                self._trouble.over()
            except Stale:
                self._lead = None
                log.info("another observer leads")
            except DatabaseError as error:
                self._trouble.say(error)
            except Exception:
                log.exception("the observer stumbled; it looks again")
            # What we wrote ourselves is news as well; a busy log must not make this a loop without a pause.
            self._ctx.stopping.wait(LEAST_PAUSE_SECONDS)
            self._woken.wait(pause)
            self._woken.clear()

    def _take_what_waits(self) -> float:
        """Attend to what nobody came for: the bell may have gone to a full worker, or to none at all.

        Returns after how many seconds to look again: at once when the lease of a worker that is lost is over.
        """
        if time.monotonic() >= self._next_offer:
            orphans = ending.to_attend(self._ctx.db, MANY)
            pause = self._take_a_share(orphans) or self._until_one_is_lost()
            self._next_offer = time.monotonic() + pause
        return max(0.0, self._next_offer - time.monotonic())

    def _take_a_share(self, orphans: list[str]) -> float | None:
        """Take some of them. Returns how long to leave the rest to others; None: there is no rest."""
        taken = self._offer(random.sample(orphans, min(len(orphans), SHARE)))
        return random.uniform(0.5, 1.0) * SHARE_SECONDS if taken and len(orphans) > SHARE else None

    def _until_one_is_lost(self) -> float:
        end = leases.next_end(self._ctx.db, self._ctx.owner)
        return RENEW_SECONDS if end is None else min(RENEW_SECONDS, max(BUSINESS_SECONDS, end))

    def _keep_lead(self) -> None:
        """Renew the lead in good time, not at each tick: a write is a sync of the disk."""
        now = time.monotonic()
        if self._lead is None or now >= self._renew_at:
            led = self._lead is not None
            self._lead = leases.lead(self._ctx.db, self._ctx.owner)
            self._renew_at = now + RENEW_SECONDS
            if self._lead is not None and not led:
                log.info("this worker leads")
        if self._lead is None and self._told is not None:
            leases.note(self._ctx.db, self._ctx.owner, None)  # the new leader says it
            self._told = None

    def _tick(self, lead: Lead, awake_since: datetime) -> None:
        ctx = self._ctx
        if ending.enforce(ctx.db, lead, awake_since):
            ctx.bells.terminate()  # at once: the listing that follows may hang
        wanted = ending.wanted(ctx.db, self._bounds)
        if len(wanted.attend) > FEW and time.monotonic() >= self._next_offer:
            # A bell for each would take seconds, and a listing too, while their logs wait.
            if (pause := self._take_a_share(wanted.attend)) is not None:
                self._next_offer = time.monotonic() + pause
                self._woken.set()
            wanted = ending.wanted(ctx.db, self._bounds)
        if time.monotonic() >= self._next_listing:
            self._observe(lead, wanted)
            wanted = ending.wanted(ctx.db, self._bounds)
        if ending.settle(ctx.db, lead):
            wanted = ending.wanted(ctx.db, self._bounds)
            self._rung.pop("notify", None)  # at once: a service that is not needed any more may end
        self._schedule(wanted)
        self._ring(wanted)
        self._housekeeping.tick(lead, wanted)

    def _schedule(self, wanted: Wanted) -> None:
        interval = HURRIED if wanted.hurried else CALM if wanted.live else QUIET
        self._next_listing = min(self._next_listing, self._last_began + interval)

    def _observe(self, lead: Lead, wanted: Wanted) -> None:
        ctx = self._ctx
        began_at, began = ctx.db.time(), time.monotonic()
        self._last_began = began
        self._next_listing = began + (HURRIED if wanted.hurried else CALM if wanted.live else QUIET)
        try:
            listing = ctx.cloud.list_instances(deadline_s=LISTING_SECONDS)
        except ApiError as error:
            self._say(f"the account cannot be listed: {error}")
            return
        self._say(None)
        self._compare_clocks(listing.date - began_at)
        listed = _listed(listing, began_at)
        self._remember(listed)
        findings = observing.apply(
            ctx.db,
            lead,
            listed,
            fleet=ctx.settings.fleet,
            quarantine=timedelta(seconds=ctx.settings.deploy_quarantine),
            first_seen=self._first_seen,
        )
        if findings.doomed:
            ctx.bells.terminate()
        doubted = findings.doubted  # not in its order: the answer of one that fails must not hide the rest
        for instance_id, uuid in random.sample(doubted, min(len(doubted), MOST_QUESTIONS)):
            # An API that does not answer, or slowly, must not keep the ceilings waiting.
            left = LISTING_SECONDS - (time.monotonic() - began)
            if ctx.stopping.is_set() or left <= 0 or not self._ask(lead, instance_id, uuid, left):
                break

    def _ask(self, lead: Lead, instance_id: int, uuid: str, seconds: float) -> bool:
        """A machine was not listed: ask for it by its uuid before it is called gone. Whether we were told."""
        try:
            found = self._ctx.cloud.get_instance(uuid, deadline_s=seconds)
        except ApiError as error:
            log.warning("machine %s was not listed, and cannot be asked for: %s", uuid, error)
            return False
        if found is None:
            observing.proved_gone(self._ctx.db, lead, instance_id, "404")
        elif found.terminal:
            observing.proved_gone(self._ctx.db, lead, instance_id, "status")
        else:
            observing.proved_alive(self._ctx.db, lead, instance_id, _sighting(found))
        return True

    def _remember(self, listed: Listed) -> None:
        """Since when each machine is known, for the grace of those that nobody claims."""
        now = listed.began_at
        known = {sighting.uuid for sighting in listed.sightings}
        self._first_seen = {uuid: self._first_seen.get(uuid, now) for uuid in known}

    def _ring(self, wanted: Wanted) -> None:
        """Ring, but not the same bell at every tick: whoever was rung needs a moment to take a lease."""
        now = time.monotonic()
        self._rung = {id_: at for id_, at in self._rung.items() if now - at < RING_AGAIN_SECONDS}
        for job_id in wanted.admit:
            if self._rung.setdefault(job_id, now) == now:
                self._ctx.bells.admit(job_id)
        for attempt_id in wanted.attend:
            if self._rung.setdefault(attempt_id, now) == now:
                self._ctx.bells.attend(attempt_id)
        if wanted.terminate and self._rung.setdefault("terminate", now) == now:
            self._ctx.bells.terminate()
        if wanted.notify and self._rung.setdefault("notify", now) == now:
            self._ctx.bells.notify()

    def _compare_clocks(self, ahead: timedelta) -> None:
        """Machines carry their expiry in their names, by our clock; others judge it by the API's."""
        if abs(ahead) > CLOCKS_DIFFER and not self._clocks_differ:
            where = "behind" if ahead > timedelta(0) else "ahead of"
            mend = "set it, and start the service again" if self._ctx.db.sqlite else "set it"
            whose = "this computer's" if self._ctx.db.sqlite else "the database server's"
            log.warning("%s clock is %.0f s %s the API's; %s", whose, abs(ahead).total_seconds(), where, mend)
        self._clocks_differ = abs(ahead) > CLOCKS_DIFFER

    def _say(self, note: str | None) -> None:
        """Tell people, through the database, what this worker cannot do; once, not at each tick."""
        if note == self._told:
            return
        if note is not None:
            log.warning("%s", note)
        else:
            log.info("the account can be listed again")
        leases.note(self._ctx.db, self._ctx.owner, note)
        self._told = note


def _listed(listing: Listing, began_at: datetime) -> Listed:
    return Listed(
        sightings=tuple(_sighting(instance) for instance in listing.instances),
        date=listing.date,
        began_at=began_at,
        complete=listing.complete,
    )


def _sighting(instance: Instance) -> Sighting:
    return Sighting(
        uuid=instance.uuid,
        name=instance.name,
        status=instance.status,
        ready=instance.ready,
        over=instance.terminal,
        failed=instance.failed,
        stopped=instance.stopped,
        host=instance.ip,
        port=instance.ssh_port,
        username=instance.username,
        product=instance.product,
        price=instance.price_micros_per_hour,
        full_price=instance.full_price_micros_per_hour,
        final=instance.price_is_final,
        created=instance.created,
    )
