"""Checked by mypy and pyright, never run: what users may write, and the types of the results."""

from __future__ import annotations

from typing import Any

from clore_ai import (
    AsyncCloreAI,
    CloreAI,
    CloreAPIError,
    Fallback,
    MarketplaceServer,
    Order,
    OrdersView,
    ReapEvent,
    Server,
    ServerConfig,
    SpotEvent,
    SpotMarket,
    SpotReport,
    Wallet,
)
from clore_ai.exceptions import AuthError, FieldError
from clore_client import CloreClient


def renting() -> None:
    """A rental for a block."""
    with CloreAI() as client, client.rent("RTX 4090", gpus=2, country=["SE", "NO"]) as rental:
        order: Order = rental.order
        order_id: int | None = rental.order_id
        line: str = rental.ssh_command
        code: int = rental.exec("true", timeout=5).code
        with rental.forward(8888) as port:
            local: int = port
    print(order, order_id, line, code, local)
    with CloreAI().rent_when("RTX 4090", every=30, timeout=3600, max_price_usd=0.3) as later:
        print(later.order.id)


def refused(client: CloreAI) -> None:
    """An unknown option or one of another type is an error before the program runs."""
    client.rent("RTX 4090", gpuz=2)  # type: ignore[call-arg]
    client.rent("RTX 4090", gpus="two")  # type: ignore[arg-type]
    client.spot_auto(6, max_usd_per_hour="0.4")  # type: ignore[arg-type]


def recorded(client: CloreAI) -> None:
    """The records of this machine."""
    usd: float | None = client.costs(by="gpu", offline=True).total[0].usd
    left: list[float] = [standing.left for standing in client.budgets()]
    left_s: float | None = client.extend_lease(678, 6).left_s
    record: int | None = client.orphans().mine[0].record
    blocked: list[int] = [host.id for host in client.block_hosts("owner:17", note="slow")]
    client.set_budget(20, "week")  # type: ignore[arg-type]
    print(usd, left, left_s, record, blocked)


async def renting_async() -> None:
    """The same with await."""
    async with AsyncCloreAI() as client, client.rent("RTX 4090", currency="auto") as rental:
        out: str = (await rental.exec("true")).stdout
        await rental.put("here", "there")
        async with rental.forward(8888) as port:
            local: int = port
    print(out, local)


def blocking() -> None:
    """004's examples, typed."""
    with CloreAI(api_key="k", base_url=None, timeout=30.0, max_retries=3, deadline=9) as client:
        wallets: list[Wallet] = client.wallets()
        servers: list[MarketplaceServer] = client.marketplace(gpu="RTX 4090", max_price_usd=0.5)
        first: Server = servers[0]
        price: float | None = first.price_usd
        hours: int | None = first.max_rental_hours
        config: ServerConfig = client.server_config("MyGPU")
        order: Order = client.create_order(
            server_id=first.id, image="i", type="on-demand", currency="bitcoin"
        )
        market: SpotMarket = client.spot_marketplace(server_id=6)
        answer: dict[str, Any] = client.cancel_order(order_id=order.id, issue="done")
        client.rate_limiter.min_interval = 2.0
        client.rate_limiter.create_order_delay = 10.0
        print(wallets, price, hours, config, market, answer)


async def awaiting() -> None:
    """The same with await."""
    async with AsyncCloreAI() as client:
        servers: list[MarketplaceServer] = await client.marketplace()
        order: Order = await client.wait_for_ssh(servers[0].id, timeout=60)
        command: str | None = order.ssh_command
        print(command)


def callback(event: SpotEvent) -> None:
    """The arguments of a callback."""
    per_hour: float | None = event.usd_per_hour
    print(event.event, event.order_id, per_hour, event.message, event.sentence)


async def bidding() -> None:
    """An autopilot of a spot order, in both clients."""
    instead = Fallback("on-demand", after_s=600, max_usd_per_hour=0.6, ssh_password="p")
    report: SpotReport = CloreAI().spot_auto(
        6, max_usd_per_hour=0.4, every_s=20, for_s=3600, fallback=instead, on_event=callback
    )
    report = await AsyncCloreAI().spot_auto(6, max_per_day=0.0001, headroom=0.05, stop=lambda: True)
    saved: float | None = report.saved_usd
    order: Order | None = report.new_order
    print(saved, order, report.held_share, *report.sentences())


async def monitoring() -> None:
    """A monitor of orders, in both clients."""
    for view in CloreAI().monitor([6], every=10, timeout=60, gpus=False):
        at: float = view.at
        use: list[float | None] = [each.use_percent for each in view.orders]
        print(at, use, [event.message for event in view.events])
    async for later in AsyncCloreAI().monitor(idle_cancel=1800, others=True, limits=True):
        one: OrdersView = later
        ended = [event.cancelling for event in one.events if event.cancelling is not None]
        print(one.looked, [each.gone for each in ended])


async def offers() -> None:
    """The expected cost, in both clients."""
    for offer in CloreAI().offers("RTX 4090", max_price_usd=0.5, lease_h=6):
        price: float | None = offer.cost.total.usd_per_hour
        print(offer.server.id, price, offer.end.lease_s, offer.balance)
    print((await AsyncCloreAI().quote(7, "bitcoin", lease_h=2)).lasts_h)


async def jobs() -> None:
    """Detached jobs, in both clients."""
    for job, standing in CloreAI().my_jobs():
        print(job.id, standing.upper())
    CloreAI().job_output(1, print, follow=True)
    code: int | None = CloreAI().attach(1, on_output=print, on_message=print).code
    state: str = (await AsyncCloreAI().stop(1)).state
    print(code, state)


def reaped() -> None:
    """What `reap` and `cancel_all` report, and end."""
    gone: list[bool] = [each.gone for each in CloreAI().cancel_all(others=True, timeout=30)]
    print(gone)
    for event in CloreAI().reap(every=60, timeout=3600, dry_run=True, on_event=print):
        one: ReapEvent = event
        reason = None if one.limit is None else one.limit.reason
        print(one.what, one.message, reason, one.job and one.job.id)


def errors() -> None:
    """The attributes of an error."""
    try:
        CloreAI().wallets()
    except FieldError as exc:
        reason: str | None = exc.error
        print(reason)
    except (AuthError, CloreAPIError) as exc:
        code: int | None = exc.code
        print(code, exc.response, exc.maybe_acted)


def older() -> None:
    """001's client."""
    rows: list[dict[str, Any]] = CloreClient(api_key="k").list_servers()
    print(rows)
