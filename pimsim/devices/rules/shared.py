"""Rules that most families share in form: columns on a data bus, rows of a bank, refresh.

A family gives the clocks, each from its own datasheet names; nothing here has a value of its own.
`read_precharge` and `write_precharge` are clocks from a data command to the precharge of its bank.
"""

from __future__ import annotations

from pimsim.devices.rules.rule import READS, WRITES, Rule


def data_bus(*, read: int, write: int, burst: int, idle: int) -> list[Rule]:
    """One data bus for all ranks: bursts do not overlap, and `idle` clocks lie between those of two ranks.

    read, write: clocks from the command to the first data.
    """
    return [
        Rule("channel", READS, READS, burst),
        Rule("channel", WRITES, WRITES, burst),
        Rule("rank", READS, READS, burst + idle, sibling=True),
        Rule("rank", WRITES, WRITES, burst + idle, sibling=True),
        Rule("rank", READS, WRITES, max(1, read + burst + idle - write), sibling=True),
        Rule("rank", WRITES, READS, max(1, write + burst + idle - read), sibling=True),
    ]


def bank_rows(
    *, rcd: int, rcd_wr: int, ras: int, rc: int, rp: int, rp_all: int, read_precharge: int,
    write_precharge: int,
) -> list[Rule]:  # fmt: skip
    """A row is opened, used and closed; precharges with a data command (RDA, WRA) included."""
    return [
        Rule("bank", ("ACT1",), ("ACT1",), rc),
        Rule("bank", ("ACT1",), READS, rcd),
        Rule("bank", ("ACT1",), WRITES, rcd_wr),
        Rule("bank", ("ACT1",), ("PRE",), ras),
        Rule("rank", ("ACT1",), ("PREA",), ras),
        Rule("bank", ("RD",), ("PRE",), read_precharge),
        Rule("rank", ("RD",), ("PREA",), read_precharge),
        Rule("bank", ("WR",), ("PRE",), write_precharge),
        Rule("rank", ("WR",), ("PREA",), write_precharge),
        Rule("bank", ("PRE",), ("ACT1",), rp),
        Rule("rank", ("PREA",), ("ACT1",), rp_all),
        Rule("bank", ("RDA",), ("ACT1",), read_precharge + rp),
        Rule("bank", ("WRA",), ("ACT1",), write_precharge + rp),
    ]


def all_bank_refresh(
    *, rc: int, rp: int, rp_all: int, read_precharge: int, write_precharge: int, rfc: int
) -> list[Rule]:
    """A refresh of the whole rank waits until every bank is precharged."""
    return [
        Rule("rank", ("ACT1",), ("REFAB",), rc),
        Rule("rank", ("PRE",), ("REFAB",), rp),
        Rule("rank", ("PREA",), ("REFAB",), rp_all),
        Rule("rank", ("RDA",), ("REFAB",), read_precharge + rp),
        Rule("rank", ("WRA",), ("REFAB",), write_precharge + rp),
        Rule("rank", ("REFAB",), ("ACT1", "PREA", "REFAB"), rfc),
    ]


def per_bank_refresh(
    refresh: str, /, *, rc: int, rp: int, rp_all: int, read_precharge: int, write_precharge: int,
    rfc_all: int, rfc: int, activate_refresh: int, refresh_activate: int, refresh_refresh: int,
) -> list[Rule]:  # fmt: skip
    """A refresh of one bank (REFPB), or of one in every bank group (REFSB), beside the work of the others.

    The last three times: clocks between it and an activate of another bank, before and after, and the next.
    """
    return [
        Rule("bank", ("ACT1",), (refresh,), rc),
        Rule("rank", ("ACT1",), (refresh,), activate_refresh),
        Rule("bank", ("PRE",), (refresh,), rp),
        Rule("rank", ("PREA",), (refresh,), rp_all),
        Rule("bank", ("RDA",), (refresh,), read_precharge + rp),
        Rule("bank", ("WRA",), (refresh,), write_precharge + rp),
        Rule("rank", ("REFAB",), (refresh,), rfc_all),
        Rule("bank", (refresh,), ("ACT1", refresh), rfc),
        Rule("rank", (refresh,), ("REFAB",), rfc),
        Rule("rank", (refresh,), (refresh,), refresh_refresh),
        Rule("rank", (refresh,), ("ACT1",), refresh_activate),
    ]


def counted_from_last_clock(rules: list[Rule], *buses: dict[str, int]) -> list[Rule]:
    """The same waits where commands take several clocks of a command bus and count from their last.

    buses: for each command bus, the clocks of every command on it. A command of ours has the clock of its
    first, so that a wait grows by the further clocks of the command before and shrinks by those of the
    command that waits.
    """
    out = []
    bus_ck = {name: clocks for bus in buses for name, clocks in bus.items()}
    for rule in rules:
        for after in rule.after:
            for before in rule.before:
                clocks = max(0, rule.wait + bus_ck[after] - bus_ck[before])
                out.append(Rule(rule.scope, (after,), (before,), clocks, rule.window, rule.sibling))
    for bus in buses:
        for taken in sorted(set(bus.values()) - {1}):
            long = tuple(name for name, clocks in bus.items() if clocks == taken)
            out.append(Rule("channel", long, tuple(bus), taken))
    return out
