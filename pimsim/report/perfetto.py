"""Timelines as Perfetto protobuf, through the package `perfetto` (extra "perfetto")."""

from __future__ import annotations

from typing import Any

from pimsim.errors import PimsimError
from pimsim.report.timeline import Tracks

SEQUENCE = 1


def trace_bytes(made: Tracks) -> bytes:
    """The tracks as a serialised `perfetto.protos.Trace`: the same tracks give the same bytes."""
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb
    except ImportError:
        raise PimsimError(
            "protobuf timelines need the package perfetto; install it with: pip install 'pimsim[perfetto]'"
        ) from None
    trace = pb.Trace()
    processes: dict[str, int] = {}

    def process(name: str) -> int:
        if name not in processes:
            uuid = processes[name] = 1_000_000 + len(processes)
            packet = _packet(trace)
            packet.track_descriptor.uuid = uuid
            packet.track_descriptor.process.pid = len(processes)
            packet.track_descriptor.process.process_name = name
        return processes[name]

    for number, (group, name) in enumerate(made.threads):
        parent = process(group)
        descriptor = _packet(trace).track_descriptor
        descriptor.uuid, descriptor.parent_uuid, descriptor.name = 1 + number, parent, name
    # Begins and ends of one track in the order of time; an end comes before a begin at the same time, and
    # of slices that begin together the longer one begins first. Slices of no length are left out.
    s = made.slices
    rows: list[tuple[Any, ...]] = []
    columns = (
        s[c].tolist() for c in ("track", "name", "kind", "start_ns", "end_ns", "layer", "phase", "flow")
    )
    for track, name, kind, start, end, layer, phase, flow in zip(*columns, strict=True):
        if end > start:
            rows.append((track, start, 1, -end, name, kind, layer, phase, flow))
            rows.append((track, end, 0, -start, name, kind, layer, phase, flow))
    rows.sort(key=lambda row: row[:4])
    for track, time, begins, _, name, kind, layer, phase, flow in rows:
        packet = _packet(trace, time)
        event = packet.track_event
        event.track_uuid = 1 + track
        event.type = event.TYPE_SLICE_BEGIN if begins else event.TYPE_SLICE_END
        if begins:
            event.name = name
            event.categories.append(kind)
            if flow:
                event.flow_ids.append(flow)
            for key, value in (("phase", phase), ("layer", layer)):
                note = event.debug_annotations.add()
                note.name = key
                if isinstance(value, str):
                    note.string_value = value
                else:
                    note.int_value = int(value)
    c = made.counts
    curves: dict[str, int] = {}
    columns = (c[name].tolist() for name in ("process", "name", "time_ns", "value"))
    for group, name, time, value in zip(*columns, strict=True):
        if name not in curves:
            parent = process(group)
            curves[name] = 2_000_000 + len(curves)
            descriptor = _packet(trace).track_descriptor
            descriptor.uuid, descriptor.parent_uuid, descriptor.name = curves[name], parent, name
            descriptor.counter.unit_name = name.rsplit(", ", 1)[-1]
        event = _packet(trace, time).track_event
        event.type, event.track_uuid, event.double_counter_value = event.TYPE_COUNTER, curves[name], value
    return bytes(trace.SerializeToString(deterministic=True))


def _packet(trace: Any, time_ns: int | None = None) -> Any:
    packet = trace.packet.add()
    packet.trusted_packet_sequence_id = SEQUENCE
    if time_ns is not None:
        packet.timestamp = int(time_ns)
    return packet
