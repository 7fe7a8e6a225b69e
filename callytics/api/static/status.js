"use strict";
// Texts become text nodes only: nothing that the service says is ever read as HTML.

const texts = JSON.parse(document.getElementById("texts").textContent);
const language = document.documentElement.lang;
const EVERY_MS = 5000;
const PATIENCE_MS = 4000;

const element = (id) => document.getElementById(id);
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const number = (value) => value.toLocaleString(language);
// The reader's own zone, by its name.
const MOMENT = { year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short" };
const moment = (text) => new Date(text).toLocaleString(language, MOMENT);

function made(name, text) {
    const node = document.createElement(name);
    // Long names may break at their joints, and nowhere else.
    node.append(...String(text).split(/(?<=[_-])/).flatMap((part) => [document.createElement("wbr"), part]).slice(1));
    return node;
}

function list(id, pairs) {
    element(id).replaceChildren(...pairs.map(([term, value]) => {
        const pair = document.createElement("div");
        pair.append(made("dt", term), made("dd", value));
        return pair;
    }));
}

function showState(state, reason) {
    element("state").dataset.state = state;
    element("state").textContent = texts[state];
    element("reason").hidden = !reason;
    element("reason").textContent = reason || "";
}

function showService(service) {
    showState(service.status, service.reason);
    const pairs = [["version", service.version]];
    if (service.pool) {
        pairs.push(
            ["database_version", service.database_version],
            ["schema_version", service.schema_version],
            ["latency_ms", `${number(service.latency_ms)} ms`],
            ["pool", `${service.pool.in_use} / ${service.pool.size}`],
        );
    }
    list("service", pairs.map(([name, value]) => [texts[name], value]));
}

function showParts(parts) {
    const cards = parts.map((part) => {
        const card = document.createElement("div");
        card.dataset.level = part.level;
        const time = part.at ? moment(part.at) : "";
        const words = texts.parts[`${part.subject}_${part.state}`] || part.state;
        card.append(made("dt", texts.parts[part.subject] || part.subject));
        card.append(made("dd", filled(words, { time, count: number(part.count ?? 0) })));
        return card;
    });
    element("glance").replaceChildren(...cards);
}

// The tables that a group has, and at the end those that no group names.
function grouped(tables) {
    const left = new Map(tables.map((table) => [table.name, table]));
    const groups = Object.entries(texts.grouping).map(([group, names]) => {
        const own = names.filter((name) => left.has(name)).map((name) => left.get(name));
        names.forEach((name) => left.delete(name));
        return [group, own];
    });
    return [...groups, ["other", [...left.values()]]].filter(([, own]) => own.length);
}

function figures(tables) {
    const figures = document.createElement("dl");
    figures.append(...tables.map(({ name, rows, exact }) => {
        const pair = document.createElement("div");
        const term = made("dt", texts.tables[name] || name);
        term.title = name;
        pair.append(term, made("dd", exact ? number(rows) : filled(texts.about, { rows: number(rows) })));
        return pair;
    }));
    return figures;
}

function group([name, tables], isOpen) {
    const section = document.createElement("section");
    const [empty, full] = [tables.filter((table) => !table.rows), tables.filter((table) => table.rows)];
    section.append(made("h3", texts.groups[name]), figures(full));
    if (empty.length) {
        const folded = document.createElement("details");
        folded.open = isOpen(name);
        folded.dataset.group = name;
        folded.append(made("summary", filled(texts.folded, { count: number(empty.length) })), figures(empty));
        section.append(folded);
    }
    return section;
}

function showRows(tables) {
    // What somebody has unfolded stays so.
    const opened = new Set([...document.querySelectorAll("#rows details[open]")].map((one) => one.dataset.group));
    // What is empty as a whole comes last.
    const isEmpty = ([, own]) => own.every((table) => !table.rows);
    const groups = grouped(tables).sort((one, other) => isEmpty(one) - isEmpty(other));
    element("rows").replaceChildren(...groups.map((one) => group(one, (name) => opened.has(name))));
}

function showCounts(counts) {
    element("as-of").textContent = filled(texts.as_of, { time: moment(counts.counted_at) });
    showRows(counts.tables);
    const last = counts.last_import;
    element("import").textContent = last ? verdict(last) : texts.none;
    element("login").hidden = !last || !element("report").hidden;
}

function verdict(last) {
    const words = texts[last.verdict] || last.verdict;
    return last.finished_at ? `${words} (${filled(texts.finished, { time: moment(last.finished_at) })})` : words;
}

function showReport(report) {
    // Few files have rows that were there already: the others' tables do without the column.
    const shared = report.tables.some((table) => table.shared) ? ["shared"] : [];
    const columns = ["file", "source_table", "source_rows", "loaded", ...shared, "rejected", "different_rows"];
    const head = document.createElement("tr");
    head.append(...columns.map((column) => made("th", texts[column])));
    const rows = report.tables.map((table) => {
        const row = document.createElement("tr");
        row.append(...columns.map((column) => {
            const figure = made("td", cell(table[column]));
            figure.dataset.title = texts[column];
            return figure;
        }));
        return row;
    });
    element("report").querySelector("table").replaceChildren(head, ...rows);
    element("report").hidden = false;
    element("login").hidden = true;
}

function cell(value) {
    if (value === null) return "–";
    return typeof value === "number" ? number(value) : value.split("/").pop();
}

async function ask(address, options) {
    return fetch(address, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS), ...options });
}

async function refresh() {
    try {
        const answer = await ask("/status");
        if (!answer.ok) throw new Error(answer.status);
        const status = await answer.json();
        showService(status.service);
        if (status.parts.length) showParts(status.parts);
        if (status.counts) showCounts(status.counts);
    } catch {
        showState("unhealthy", texts.unreachable);
    }
}

async function keepRefreshing() {
    if (!document.hidden) await refresh();
    setTimeout(keepRefreshing, EVERY_MS);
}

const FAILURES = { 401: "refused", 403: "forbidden", 429: "too_many" };

async function expect(answer) {
    if (!answer.ok) throw new Error(texts[FAILURES[answer.status] || "failed"]);
    return answer.status === 204 ? null : answer.json();
}

async function logIn(form) {
    const body = JSON.stringify(Object.fromEntries(new FormData(form)));
    const headers = { "Content-Type": "application/json" };
    const session = await expect(await ask("/auth/login", { method: "POST", headers, body }));
    // The token lives no longer than this function: the session is for the report only.
    const bearer = { Authorization: `Bearer ${session.access_token}` };
    try {
        showReport(await expect(await ask("/imports/latest", { headers: bearer })));
    } finally {
        await ask("/auth/logout", { method: "POST", headers: bearer });
    }
}

element("login").addEventListener("submit", async (event) => {
    event.preventDefault();
    element("login-failure").textContent = "";
    try {
        await logIn(event.target);
    } catch (error) {
        element("login-failure").textContent = error.name === "Error" ? error.message : texts.failed;
    }
    event.target.reset();
});

document.addEventListener("visibilitychange", () => document.hidden || refresh());
keepRefreshing();
