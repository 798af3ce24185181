"""`runner account`: the token, the recharge settings, and what was spent.

The API tells neither a balance nor past charges, so the spend is what our own meter counted. Nor does it
tell whether a token may write: a read-only one is accepted like any other, and refused where it would change
something. To find that out one would have to order a change, which no look into an account is worth.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from jobs import money
from jobs.errors import DatabaseError, InvalidSettings
from jobs.settings import Settings, load_settings
from runner import present
from runner.cli import output
from runner.cli.api import open_cloud, time_left
from runner.cli.options import Json
from workers.cloud.shapes import Billing

if TYPE_CHECKING:
    from jobs.store.spend import Spend


def account(
    json: Json = False,
) -> None:
    """Show whether the token is accepted, the recharge settings, and what was spent through this database.

    Whether the token may write as well is not known before it is used. The API tells nobody the balance.

    Example: runner account
    """
    settings = load_settings()
    left = time_left()
    with open_cloud(settings) as cloud:
        cloud.validate_token(deadline_s=left())
        billing = cloud.billing(deadline_s=left())
    failure: DatabaseError | InvalidSettings | None = None
    spend: dict[str, Any] | None = None
    try:
        spend = _spend(settings)
    except (DatabaseError, InvalidSettings) as error:  # what the API said is shown all the same
        failure = error
    recharge = _recharge_json(billing)
    if json:
        output.print_json(
            {
                "api_url": settings.api_url,
                "token": {"valid": True, "read_only": None},
                "recharge": recharge,
                "spend": spend,
            }
        )
    else:
        output.line(f"token     accepted by {settings.api_url}; whether it may write shows when it is used")
        output.line(f"recharge  {_recharge_text(recharge)}")
        output.line("balance   not known: the API tells it to nobody")
        output.line(f"spend     {_spend_text(spend, failure is None)}")
    if failure is not None:
        raise failure


def _recharge_json(billing: Billing) -> dict[str, Any] | None:
    """The settings; None where the account has none."""
    if billing.method is None and billing.threshold_cents is None and billing.amount_cents is None:
        return None
    return {
        "method": billing.method,
        "threshold_usd": _cents(billing.threshold_cents),
        "amount_usd": _cents(billing.amount_cents),
    }


def _recharge_text(recharge: dict[str, Any] | None) -> str:
    if recharge is None:
        return "no settings: Massed Compute rents nothing without them (402)"
    amount, threshold = (
        "an unknown amount" if recharge[key] is None else f"${recharge[key]}"
        for key in ("amount_usd", "threshold_usd")
    )
    return f"{amount} when less than {threshold} is left, by {recharge['method'] or 'a method not known'}"


def _spend(settings: Settings) -> dict[str, Any] | None:
    """What was spent; None where there is no database. Raises DatabaseError and InvalidSettings."""
    from jobs.store import spend
    from runner.cli.database import open_existing

    db = open_existing(settings)
    if db is None:
        return None
    with closing(db):
        ever, month, first = spend.metered(db)
    return {
        "database": str(db.path or db.shown_url),
        "total_usd": _sum(ever),
        "month_usd": _sum(month),
        "month_start": present.time_text(first),
        "machines": ever.machines,
        "unpriced_machines": ever.unpriced,
        "estimated": ever.estimated,
    }


def _sum(spend: Spend) -> str | None:
    """What was spent, or at least; None where no price at all is known: that is not zero."""
    if spend.machines and spend.unpriced == spend.machines:
        return None
    return money.format_usd(spend.micros)


def _spend_text(spend: dict[str, Any] | None, usable: bool) -> str:
    if spend is None:
        return f"not known: {'there is no database yet' if usable else 'the database cannot be used'}"
    total, month = (
        "not known" if spend[key] is None else f"${spend[key]}" for key in ("total_usd", "month_usd")
    )
    text = f"{total} in all; since {spend['month_start'][:10]}: {month}"
    text += f"; {present.count(spend['machines'], 'machine')} of {spend['database']}"
    if spend["estimated"]:
        text += "; in part estimated"
    if spend["unpriced_machines"]:
        text += f"; not in it: {present.count(spend['unpriced_machines'], 'machine')} at an unknown price"
    return text


def _cents(cents: int | None) -> str | None:
    return None if cents is None else money.format_usd(cents * 10_000)
