import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.errors import PlacementError, SpecError
from pimsim.placement import AddressMapping, FieldBit, XorHash, decode_one

PHONE = "row:16=49152 rank:1 bank:2 bankgroup:2 column:5 channel:2 column:1"
HASHED = "row:4 rank:1 bank:2 column:2 channel:2 bank[0]^=row[0]^row[3] channel[1]^=row[1]^rank[0]"
GEOMETRY = {"channel": 4, "rank": 2, "bankgroup": 4, "bank": 4, "row": 49152, "column": 64}


@st.composite
def mappings(draw: st.DrawFn) -> AddressMapping:
    """Up to 14 address bits over up to 5 fields in up to 7 pieces, some bits hashed."""
    fields = ["row", "bank", "channel", "column", "rank"]
    pieces = draw(st.lists(st.tuples(st.sampled_from(fields), st.integers(0, 2)), min_size=1, max_size=7))
    plain = AddressMapping(pieces=tuple(pieces), transaction_bytes=draw(st.sampled_from([1, 32, 64])))
    top, bits = plain.top_field, plain.field_bits[plain.top_field]
    step = 1 << (bits - pieces[-1][1])
    counts = [c for c in range((1 << bits) // 2 + 1, (1 << bits) + 1) if c % step == 0]
    top_count = draw(st.sampled_from([None, *counts]))
    every = [FieldBit(f, b) for f, n in plain.field_bits.items() for b in range(n)]
    targets = draw(st.lists(st.sampled_from(every), max_size=3, unique=True)) if every else []
    if top_count is not None:
        targets = [t for t in targets if t.field != top]
    hashes = []
    for target in targets:
        sources = [b for b in every if b not in targets and b.field != target.field]
        if sources:
            chosen = draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3, unique=True))
            hashes.append(XorHash(target=target, sources=tuple(chosen)))
    return AddressMapping(
        pieces=plain.pieces,
        transaction_bytes=plain.transaction_bytes,
        top_count=top_count,
        hashes=tuple(hashes),
    )


@settings(max_examples=150, deadline=None)
@given(mappings())
def test_every_address_has_its_own_coordinates_and_every_coordinate_an_address(m: AddressMapping) -> None:
    addresses = np.arange(0, m.capacity_bytes, m.transaction_bytes, dtype=np.uint64)
    coordinates = m.decode(addresses)
    assert coordinates.dtype == np.uint32
    assert coordinates.shape == (len(addresses), len(m.fields))
    assert (coordinates < np.array(list(m.counts.values()))).all()
    assert len(np.unique(coordinates, axis=0)) == len(addresses) == np.prod(list(m.counts.values()))
    np.testing.assert_array_equal(m.encode(coordinates), addresses)
    m.check(m.counts)


@settings(max_examples=60, deadline=None)
@given(mappings())
def test_text_gives_the_mapping_back(m: AddressMapping) -> None:
    assert AddressMapping.parse(str(m), m.transaction_bytes) == m


@settings(max_examples=60, deadline=None)
@given(mappings(), st.integers(0, 2**40))
def test_decode_one_is_decode(m: AddressMapping, seed: int) -> None:
    address = seed % m.capacity_bytes
    out = np.full(len(m.fields), -1, np.int64)
    decode_one(address, *m.tables(), out)
    assert out.tolist() == m.decode([address])[0].tolist()


def test_pieces_by_hand() -> None:
    # Bits of 32-byte bursts, upward from 5: column 1 bit, channel 2, column 5, bankgroup 2, bank 2, rank 1.
    m = AddressMapping.parse(PHONE)
    assert str(m) == PHONE
    assert m.fields == ("row", "rank", "bank", "bankgroup", "column", "channel")
    assert m.capacity_bytes == 12 * 2**30
    address = 32 * (1 + 2 * (3 + 4 * (21 + 32 * (2 + 4 * (1 + 4 * (1 + 2 * 49151)))))) + 31
    assert m.decode([address]).tolist() == [[49151, 1, 1, 2, 43, 3]]
    assert m.encode([[49151, 1, 1, 2, 43, 3]]).tolist() == [address - 31]


def test_hash_by_hand() -> None:
    m = AddressMapping.parse(HASHED)
    row, rank, bank, column, channel = 0b1011, 1, 0b10, 3, 0b01
    address = 32 * (channel + 4 * (column + 4 * (bank + 4 * (rank + 2 * row))))
    # bank[0] = 0 ^ row[0] ^ row[3] = 0 ^ 1 ^ 1; channel[1] = 0 ^ row[1] ^ rank[0] = 0 ^ 1 ^ 1
    assert m.decode([address]).tolist() == [[row, rank, bank, column, channel]]
    address = 32 * (channel + 4 * (column + 4 * (bank + 4 * (0 + 2 * row))))
    assert m.decode([address]).tolist() == [[row, 0, bank, column, channel | 2]]


def test_a_big_mapping_round_trips_at_random_addresses() -> None:
    m = AddressMapping.parse(PHONE + " channel[0]^=row[0]^row[5] bankgroup[1]^=row[2]^rank[0]")
    rng = np.random.default_rng(1)
    addresses = rng.integers(0, m.capacity_bytes // 32, 100_000).astype(np.uint64) * np.uint64(32)
    coordinates = m.decode(addresses)
    np.testing.assert_array_equal(m.encode(coordinates), addresses)
    out, tables = np.empty(len(m.fields), np.int64), m.tables()
    for address, wanted in zip(addresses[:200], coordinates[:200], strict=True):
        decode_one(int(address), *tables, out)
        assert out.tolist() == wanted.tolist()


def test_geometry_must_match() -> None:
    m = AddressMapping.parse(PHONE)
    m.check(GEOMETRY)
    AddressMapping.parse("row:4 column:2").check({"row": 16, "column": 4, "rank": 1})
    with pytest.raises(SpecError, match="channel lost: 8 in the geometry but only 4"):
        m.check(GEOMETRY | {"channel": 8})
    with pytest.raises(SpecError, match="bank repeated: 4 have an address but the geometry has 2"):
        m.check(GEOMETRY | {"bank": 2})
    with pytest.raises(SpecError, match="row repeated"):
        m.check(GEOMETRY | {"row": 32768})
    with pytest.raises(SpecError, match="no 'rank' in the geometry; did you mean 'ranks'"):
        m.check({("ranks" if k == "rank" else k): v for k, v in GEOMETRY.items()})


def test_addresses_beyond_the_capacity_are_named() -> None:
    m = AddressMapping.parse(PHONE)
    assert m.decode([m.capacity_bytes - 1])[0, 0] == 49151
    with pytest.raises(PlacementError, match=r"0x300000000 lies outside the 12884901888 bytes"):
        m.decode([0, m.capacity_bytes])
    with pytest.raises(PlacementError, match="outside"):
        m.decode([-1])
    with pytest.raises(PlacementError, match="row 49152 does not exist: 49152 of them"):
        m.encode([[49152, 0, 0, 0, 0, 0]])
    with pytest.raises(PlacementError, match="wanted \\(n, 6\\)"):
        m.encode([[0, 0]])
    assert m.decode([]).shape == (0, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one"),
        ("row:4 bank", "cannot read 'bank'"),
        ("row:4 Bank:2", "cannot read 'Bank:2'"),
        ("row:4 bank:2=3", "only the first piece"),
        ("row:4=8 bank:2", "cannot hold exactly 8"),
        ("row:4=17 bank:2", "cannot hold exactly 17"),
        ("row:3=9 bank:2 row:1", "multiple of 2"),
        ("row:60", "63 are supported"),
        ("row:33", "32 are supported"),
        ("row:2 bank:2 bank[0]^=bank[1]", "lies in the field"),
        ("row:2 bank:2 bank[0]^=row[0] row[1]^=bank[0]", "hashed itself"),
        ("row:2 bank:2 bank[2]^=row[0]", "bank has 2 bits"),
        ("row:2 bank:2 bank[0]^=rows[0]", "did you mean 'row'"),
        ("row:2 bank:2 bank[0]^=row[0] bank[0]^=row[1]", "2 times"),
        ("row:2 bank:2 bank[0]^=row[0]^row[0]", "different"),
        ("row:2=3 bank:2 row[0]^=bank[1]", "could leave the 3"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        AddressMapping.parse(text)


def test_transaction_must_be_a_power_of_two() -> None:
    with pytest.raises(SpecError, match="transaction_bytes=48"):
        AddressMapping.parse("row:4", transaction_bytes=48)
