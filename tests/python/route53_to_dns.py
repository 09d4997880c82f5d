"""Copies the TXT records of a hosted zone of moto's Route 53 into the DNS of pebble's challenge server, again and again.

Makes the zone first. Usage: route53_to_dns.py ROUTE53 ZONE DNS-MANAGEMENT
"""

import json
import sys
import time
import urllib.request

import boto3

LOOK_EVERY = 0.2


def texts(client, zone):
    pages = client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone)
    sets = [one for page in pages for one in page["ResourceRecordSets"] if one["Type"] == "TXT"]
    return {one["Name"]: {record["Value"].strip('"') for record in one["ResourceRecords"]} for one in sets}


def tell(management, path, body):
    request = urllib.request.Request(management + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).read()


def main(endpoint, name, management):
    client = boto3.client(
        "route53", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    zone = client.create_hosted_zone(Name=name, CallerReference="lab")["HostedZone"]["Id"]
    told = {}
    while True:
        now = texts(client, zone)
        for record in told.keys() | now.keys():
            if told.get(record) != now.get(record):
                tell(management, "/clear-txt", {"host": record})
                for value in now.get(record, ()):
                    tell(management, "/set-txt", {"host": record, "value": value})
        told = now
        time.sleep(LOOK_EVERY)


if __name__ == "__main__":
    main(*sys.argv[1:])
