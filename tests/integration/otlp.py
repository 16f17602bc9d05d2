"""Spans in protocol buffers, as Go's exporter posts them (opentelemetry-proto 1.x), as the JSON that Kiln posts."""

from ttrpc import unpack


def every(data, number):
    return [value for n, value in unpack(data) if n == number]


def first(data, number, default=None):
    return next(iter(every(data, number)), default)


def attributes(data, number):
    made = []
    for pair in every(data, number):
        value = first(pair, 2, b"")
        text, whole = first(value, 1), first(value, 3)
        value = {"intValue": str(whole)} if text is None and whole is not None else {"stringValue": (text or b"").decode()}
        made.append({"key": first(pair, 1).decode(), "value": value})
    return made


def ids(data, trace, span):
    return {"traceId": first(data, trace, b"").hex(), "spanId": first(data, span, b"").hex()}


def status(data):
    code = first(data, 3)
    return {"status": {"code": code, "message": first(data, 2, b"").decode()}} if code else {}


def span(data):
    parent, links = first(data, 4), [ids(link, 1, 2) for link in every(data, 13)]
    return {
        **ids(data, 1, 2),
        **({"traceState": first(data, 3).decode()} if first(data, 3) else {}),
        **({"parentSpanId": parent.hex()} if parent else {}),
        "name": first(data, 5).decode(),
        "kind": first(data, 6, 0),
        "startTimeUnixNano": str(first(data, 7)),
        "endTimeUnixNano": str(first(data, 8)),
        "attributes": attributes(data, 9),
        **({"links": links} if links else {}),
        **status(first(data, 15, b"")),
    }


def request(data):
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes(first(of, 1, b""), 1)},
                "scopeSpans": [{"spans": [span(each) for each in every(scope, 2)]} for scope in every(of, 2)],
            }
            for of in every(data, 1)
        ]
    }
