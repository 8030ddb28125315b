"""An OpenFaaS handler that tells what it got."""


def handle(event, context):
    match event.path:
        case "/dict":
            return {"statusCode": 201, "body": {"a": [1]}, "headers": {"X-Kind": "dict"}}
        case "/plain":
            return "text", 202, {"X-Kind": "flask", "Content-Type": "text/plain"}
        case "/bytes":
            return event.body
        case "/object":
            return object()
        case "/raise":
            raise RuntimeError("handlers fail too")
    return {
        "method": event.method,
        "path": event.path,
        "query": event.query,
        "sent": event.body.decode(),
        "agent": event.headers["user-agent"],
        "host": bool(context.hostname),
    }
