"""Invented calls: who called, when, about what, and what was said. `callytics.trial.sample` writes them to files.

Everything is drawn from one `random.Random`, so that the same seed gives the same calls on any machine, at any time
and in any locale. Conversations come from a stock of scripts, composed once from the files in words/. A call plays one
of them at its own tempo, with its own names and amounts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from random import Random
from typing import NamedTuple

from callytics.trial.sample.scripts import Agent, Language, Scenario, Script, pick, salt

LANGUAGES = {1: ("english", "turkish"), 2: ("korean",), 3: ("korean",)}
# An installation went from generation to generation: each begins where the one before ended.
FIRST_DAY = {1: date(2024, 1, 2), 2: date(2024, 7, 1), 3: date(2025, 1, 2)}
WORKING_DAYS = 124
OPENING_HOUR = 9
WORKING_SECONDS = 9 * 3600
# Korea has no daylight saving time.
SEOUL = timedelta(hours=9)
EPOCH = datetime(1970, 1, 1)


class Call(NamedTuple):
    """A recorded call, numbered from 1. ``epoch`` is the second (UTC) it was analysed, ``day`` its date in Seoul."""

    number: int
    id: int
    session: int
    first_turn: int
    script: int
    scenario: int
    noise: int
    completed: bool
    agent: int
    agent_name: str
    customer: str
    last4: str
    amount: str
    plan: str
    due: str
    summary: str
    solution: str
    additional_info: str
    file_name: str
    tempo: float
    shift: float
    duration: float
    quality: float
    epoch: int
    created: str
    day: str


class Stock:
    """What the calls of a generation are made of: languages with their scripts, and agents."""

    def __init__(self, generation: int, calls: int, rng: Random) -> None:
        self.generation = generation
        self.languages: list[Language] = []
        for name in LANGUAGES[generation]:
            scripts, scenarios = len(self.scripts), len(self.scenarios)
            self.languages.append(Language(name, rng, first_script=scripts, first_scenario=scenarios))
        self.language_of = [language for language in self.languages for _ in language.scripts]
        self.agents = [self._agent(n, calls, rng) for n in range(1, agent_count(calls) + 1)]
        for agent in self.agents:
            self.language_of_agent(agent.n).agents.append(agent)

    @property
    def scripts(self) -> list[Script]:
        """Return the scripts of all languages, in order of their numbers."""
        return [script for language in self.languages for script in language.scripts]

    @property
    def scenarios(self) -> list[Scenario]:
        """Return what calls can be about, in all languages, in order of their numbers."""
        return [scenario for language in self.languages for scenario in language.scenarios]

    def language_of_agent(self, n: int) -> Language:
        """Return the language that agent ``n`` speaks."""
        return self.languages[n % len(self.languages)]

    def _agent(self, n: int, calls: int, rng: Random) -> Agent:
        surname, given, name = self.language_of_agent(n).name(rng)
        years = 9 + int(rng.random() * 6) if n <= team_count(calls) else int(rng.random() * 9)
        hired = FIRST_DAY[self.generation] - timedelta(days=365 * years + int(rng.random() * 360) + 1)
        return Agent(n, salt(rng), surname, given, name, n % team_count(calls) + 1, hired.isoformat(), years)

    def calls(self, count: int, rng: Random) -> Iterator[Call]:
        """Make the calls in the order in which they came in.

        In generations 1 and 2 one in thirty is the same recording analysed again: same file, a new id. Recordings
        are analysed one after the other, so later ids have later times.
        """
        scripts = self.scripts
        days = working_days(FIRST_DAY[self.generation])
        call, call_id, session, turn, analysed = None, 0, 0, 1, EPOCH
        for index in range(count):
            # Gaps, as deleted rows leave them: the ids of a real file are not contiguous.
            call_id += 1 if rng.random() < 0.99 else 2
            again = self.generation < 3 and rng.random() < 0.033
            # The first call is always complete, so that the smallest sample has rows in every table.
            completed = self.generation < 3 or index == 0 or rng.random() > 0.012
            moment = call_time(days, (index + rng.random()) / count)
            if call is None or not again:
                call = self._call(pick(rng, scripts), moment, call_id, rng)
            ready = moment - SEOUL + timedelta(seconds=call.duration + 100 + 200 * rng.random())
            analysed = max(ready, analysed + timedelta(seconds=0.2))
            session += completed
            call = call._replace(
                number=index + 1,
                id=call_id,
                session=session,
                first_turn=turn,
                completed=completed,
                epoch=int((analysed - EPOCH).total_seconds()),
                created=analysed.isoformat(" ", "seconds"),
                day=moment.date().isoformat(),
            )
            turn += completed and scripts[call.script].turns
            yield call

    def _call(self, script: Script, moment: datetime, call_id: int, rng: Random) -> Call:
        language = self.language_of[script.n]
        words = language.words
        agent = pick(rng, language.agents)
        tempo = 0.85 + 0.3 * rng.random()
        shift = 0.3 + 3.0 * rng.random()
        slots = {
            "agent": agent.name,
            "customer": language.name(rng)[2],
            "last4": f"{rng.getrandbits(20) % 10000:04}",
            "amount": pick(rng, words["amounts"]),
            "plan": pick(rng, words["plans"]),
            "due": language.date(moment.date() + timedelta(days=3 + rng.getrandbits(6) % 20)),
        }
        scenario = self.scenario_of(script)
        mood = 0.1 * (script.late + 1.0) + 0.7 * (rng.random() + rng.random()) / 2 + 0.1
        return Call(
            number=0,
            id=call_id,
            session=0,
            first_turn=0,
            script=script.n,
            scenario=script.scenario,
            noise=rng.getrandbits(30),
            completed=True,
            agent=agent.n,
            agent_name=slots.pop("agent"),
            **slots,
            summary=scenario.summary.format(agent=agent.name, **slots),
            solution=scenario.solution.format(agent=agent.name, **slots),
            additional_info=scenario.additional_info.format(agent=agent.name, **slots),
            file_name=f"{moment:%Y%m%d_%H%M%S}_{call_id:06}.mp3",
            tempo=tempo,
            shift=shift,
            duration=shift + script.duration * tempo + 2.0 * rng.random(),
            quality=min(1.0, max(0.0, mood)),
            epoch=0,
            created="",
            day="",
        )

    def scenario_of(self, script: Script) -> Scenario:
        """Return what a script is about."""
        language = self.language_of[script.n]
        return language.scenarios[script.scenario - language.scenarios[0].n]


def agent_count(calls: int) -> int:
    """Return the number of agents for a number of calls."""
    return max(12, min(400, calls // 250))


def team_count(calls: int) -> int:
    """Return the number of teams: of about ten agents each, and at least three."""
    return max(3, agent_count(calls) // 10)


def working_days(first: date) -> list[date]:
    """Return the weekdays of about half a year."""
    days = (first + timedelta(days=n) for n in range(WORKING_DAYS * 2))
    return [day for day in days if day.weekday() < 5][:WORKING_DAYS]


def call_time(days: list[date], position: float) -> datetime:
    """Return the local time at a position (0 to 1) of the opening hours of all the days."""
    day, second = divmod(int(position * len(days) * WORKING_SECONDS), WORKING_SECONDS)
    return datetime.combine(days[day], datetime.min.time()) + timedelta(hours=OPENING_HOUR, seconds=second)
