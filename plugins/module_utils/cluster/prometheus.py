# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instant queries to a Prometheus, or to the one that OpenShift brings."""

from __future__ import annotations

import json
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

from ansible.module_utils.urls import open_url

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import rates
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, text

ROUTE = ("openshift-monitoring", "thanos-querier")
OPTIONS = {
    "url": {"type": "str"},
    "token": {"type": "str", "no_log": True},
    "ca_cert": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "window": {"type": "str", "default": "24h"},
}


class Unanswered(Exception):
    """Why there are no numbers, in a few words."""


def measured(api, settings, window, inventory):
    """The dirty rates of the guests of an inventory, and what the nodes' network cards do.

    :param settings: ``{url, token, ca_cert, validate_certs}``; without a URL OpenShift's route is looked for, and there
        the token for the API server counts.
    :param window: seconds to look back.
    :returns: ``{source, window, guests, cards, failure}``, see :mod:`..domain.rates`; ``failure`` None or why nothing is
        known. Never an exception: numbers are not worth a preflight.
    """
    found = {"source": None, "window": window, "guests": {}, "cards": {}, "failure": None}
    wanted = [key_of(vmi) for vmi in inventory["vmis"]]
    try:
        settings = dict(settings, token=settings.get("token") or _own_token(api, settings.get("url")))
        settings["url"] = settings.get("url") or route(api)
        found["source"] = settings["url"]
        answers = {figure: ask(settings, query)
                   for figure, query in rates.queries({key[0] for key in wanted}, window).items()}
        known = rates.by_guest(answers)
        found["guests"] = {key: known[key] for key in wanted if key in known}
    except Unanswered as exc:
        found["failure"] = str(exc)
        return found
    try:
        found["cards"] = rates.cards({figure: ask(settings, query) for figure, query in rates.CARDS.items()},
                                     {key_of(node)[1] for node in inventory["nodes"]})
    except Unanswered:
        pass  # without a node exporter, or behind a proxy that shows one namespace only, there are none
    return found


def _own_token(api, url):
    """The API server's token, for nobody but the cluster itself: its own Prometheus, or the API server's host."""
    return api.token() if not url or urlsplit(url)[:2] == urlsplit(api.host)[:2] else ""


def route(api):
    """The address of OpenShift's own Prometheus (Thanos).

    :raises Unanswered: where there is none, or it may not be read.
    """
    try:
        found = api.get(path_of("route.openshift.io/v1", "routes", *ROUTE))
    except errors.ApiError as exc:
        raise Unanswered("no url was given, and the route %s/%s cannot be read" % ROUTE) from exc
    if not text(found, "spec", "host"):
        raise Unanswered("the route %s/%s names no host" % ROUTE)
    return "https://" + text(found, "spec", "host")


def ask(settings, query):
    """``data.result`` of an instant query.

    :raises Unanswered: for whatever is wrong.
    """
    url = "%s/api/v1/query?%s" % (settings["url"].rstrip("/"), urlencode({"query": query}))
    headers = {"Accept": "application/json"}
    if settings.get("token"):
        headers["Authorization"] = "Bearer %s" % settings["token"]
    try:
        answer = open_url(url, headers=headers, timeout=30, ca_path=settings.get("ca_cert"),
                          validate_certs=settings.get("validate_certs", True))
        body = json.loads(answer.read())
    except HTTPError as exc:
        raise Unanswered("%s answered %s" % (settings["url"], exc.code)) from exc
    except Exception as exc:  # pylint: disable=broad-except
        raise Unanswered("%s: %s" % (settings["url"], exc)) from exc
    result = body.get("data", {}).get("result") if isinstance(body, dict) and isinstance(body.get("data"), dict) else None
    if not isinstance(result, list):
        raise Unanswered("%s does not answer like Prometheus" % settings["url"])
    return result
