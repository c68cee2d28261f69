"""What the report has of port budgets and of peers, as series."""

import numpy as np

from sockwatch.export.metrics.folding import NOTHING, Folded, Join, fold
from sockwatch.export.metrics.labels import OTHER, label
from sockwatch.export.metrics.namespaces import Namespaces
from sockwatch.model.report import BudgetUse, PeerCount
from sockwatch.model.settings import MetricsSettings
from sockwatch.model.state import State

CLOSING = (State.CLOSE_WAIT, State.FIN_WAIT_1, State.FIN_WAIT_2, State.LAST_ACK, State.CLOSING)
"""The states that peers are counted in."""
_ANY = "*"


def budget_ratios(
    budgets: tuple[BudgetUse, ...], namespaces: Namespaces, settings: MetricsSettings
) -> tuple[Folded, Folded]:
    """By (netns, source, destination): the used share of the fullest, and of the same the seconds that are left."""
    if not budgets:
        return NOTHING, NOTHING
    number = np.array([namespaces.number_of(budget.netns) for budget in budgets])
    ratio = np.array([budget.ratio for budget in budgets])
    left = np.array([np.nan if budget.seconds_left is None else budget.seconds_left for budget in budgets])
    weight = np.where(number < len(namespaces.own), ratio, np.nan)
    folded = [
        fold(
            numbers[:, np.newaxis],
            weight,
            labels=lambda i: (namespaces.labels[number[i]], label(budgets[i].source), label(budgets[i].destination)),
            rest=number,
            rests=[(name, OTHER, OTHER) for name in namespaces.labels],
            top=settings.top,
            cap=settings.max_series,
            join=join,
        )
        for numbers, join in ((ratio, Join.MAX), (left, Join.MIN))
    ]
    return folded[0], folded[1]


def peer_counts(peers: tuple[PeerCount, ...], namespaces: Namespaces, settings: MetricsSettings) -> Folded:
    """By (netns, local, peer): those with whom most sockets linger, in each state of CLOSING."""
    subjects = sorted({(namespaces.number_of(p.netns), p.local, p.peer) for p in peers})
    if not subjects:
        return NOTHING
    row = {subject: i for i, subject in enumerate(subjects)}
    counts = np.zeros((len(subjects), len(CLOSING)))
    for p in peers:
        counts[row[namespaces.number_of(p.netns), p.local, p.peer], CLOSING.index(p.state)] += p.count
    number = np.array([netns for netns, _, _ in subjects])
    named = (number < len(namespaces.own)) & np.array([(local, peer) != (_ANY, _ANY) for _, local, peer in subjects])
    return fold(
        counts,
        np.where(named, counts.sum(axis=1), np.nan),
        labels=lambda i: (namespaces.labels[subjects[i][0]], label(subjects[i][1]), label(subjects[i][2])),
        rest=number,
        rests=[(name, OTHER, OTHER) for name in namespaces.labels],
        top=settings.top,
        cap=settings.max_series,
    )
