"""moto's instance metadata, on a port of the loopback.

AWS's SDK for Rust wants the lifetime that IMDSv2 names beside its token, which moto leaves out: it is added here.

Usage: imds.py PORT
"""

import sys

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

LIFETIME = "X-aws-ec2-metadata-token-ttl-seconds"


def with_lifetime(app):
    def answer(environ, start_response):
        asked = environ.get("HTTP_" + LIFETIME.upper().replace("-", "_"))

        def start(status, headers, *more):
            if asked is not None:
                headers = [*headers, (LIFETIME, asked)]
            return start_response(status, headers, *more)

        return app(environ, start)

    return answer


if __name__ == "__main__":
    metadata = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", int(sys.argv[1]), with_lifetime(metadata), threaded=True)
