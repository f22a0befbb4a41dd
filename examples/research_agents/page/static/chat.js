// The conversation: choosing an agent, asking, following the run, and opening what was said before.

import { Exchange } from "./answer.js";
import { ProblemError, inWords } from "./api.js";
import { byId, el, list, record, text } from "./dom.js";
import { nano, shown, usd } from "./money.js";
import { follow } from "./stream.js";

const PAGES = 20; // of past messages; a longer conversation is shown from its beginning

/**
 * @param {() => {send: Function, call: Function}} client the client of the session
 * @param {{onFinished: () => void}} listeners `onFinished` when something may have been spent
 */
export function createChat(client, { onFinished }) {
  const form = byId("ask");
  const message = byId("message");
  const processor = byId("processor");
  const ceiling = byId("ceiling");
  const fault = byId("message-fault");
  let agents = [];
  let session = null; // {id, agent}
  let spent = 0n;
  let watching = null; // the AbortController of the run on display
  let last = Promise.resolve(); // done when nothing is to be said about the last run any more

  const chosen = () => form.querySelector("input[name=agent]:checked")?.value ?? "";
  const named = (id) => text(agents.find((agent) => agent.id === id)?.name) || id;
  const say = (words) => (byId("status").textContent = words);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  message.addEventListener("keydown", (event) => {
    // Enter that ends the choice of a character belongs to the input method.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    start();
  });
  byId("stop").addEventListener("click", () => watching?.abort());
  byId("renew").addEventListener("click", () => {
    begin();
    message.focus();
  });
  byId("example").addEventListener("click", () => {
    message.value = byId("example").dataset.question;
    message.focus();
  });
  form.addEventListener("change", (event) => {
    if (event.target.name !== "agent") return;
    describe();
    // A session belongs to one agent.
    if (session && session.agent !== chosen()) begin(`A new session with ${named(chosen())}.`);
  });

  /** Forget the conversation on display; it stays in the past sessions. */
  function begin(words = "A new session.") {
    watching?.abort();
    watching = null;
    busy(false);
    session = null;
    spend(null);
    byId("conversation").replaceChildren();
    byId("empty").hidden = false;
    say(words);
  }

  function showAgents(found) {
    agents = found;
    const choices = agents.map((agent, position) => {
      const id = `agent-${position}`;
      const radio = el("input", { type: "radio", name: "agent", id, value: agent.id, checked: position === 0 });
      return el("label", { for: id, class: "agent" }, radio, el("span", {}, text(agent.name) || agent.id));
    });
    byId("agents").replaceChildren(el("legend", {}, "Agent"), ...choices);
    describe();
  }

  function describe(depth = "") {
    const agent = record(agents.find((one) => one.id === chosen()));
    byId("agent-about").textContent = text(agent.description);
    const options = list(agent.processors).map(record).map((one) => {
      const price = shown(one.price_usd);
      const most = shown(one.most_cost_usd);
      const cost = most ? `at most ${most}` : price && `${price} each`;
      const name = text(one.name);
      const label = [name, cost, text(one.latency_hint), one.premium === true && "premium"].filter(Boolean).join(" \u00b7 ");
      return el("option", { value: name, selected: name === (depth || text(agent.default_processor)) }, label);
    });
    processor.replaceChildren(...options);
    processor.closest("p").hidden = options.length === 0;
    const example = byId("example");
    example.hidden = !text(agent.example);
    example.dataset.question = text(agent.example);
    example.textContent = `Try: ${text(agent.example)}`;
  }

  function spend(costUsd) {
    spent = costUsd === null ? 0n : spent + (nano(costUsd) ?? 0n);
    byId("session-cost").textContent = shown(spent);
  }

  /** The body of the request; null, with the reason shown, where it makes none. */
  function question() {
    const asked = message.value.trim();
    const bound = ceiling.value.trim();
    const amount = bound ? nano(bound) : null;
    let reason = "";
    if (!asked) reason = "Write a question first.";
    else if (bound && (amount === null || amount <= 0n)) reason = "The bound is an amount such as 0.02, with a point.";
    fault.textContent = reason;
    message.setAttribute("aria-invalid", String(!asked));
    ceiling.setAttribute("aria-invalid", String(Boolean(asked && reason)));
    if (reason) {
      (asked ? ceiling : message).focus();
      return null;
    }
    return {
      message: asked,
      ...(session ? { session_id: session.id } : {}),
      ...(processor.value ? { processor: processor.value } : {}),
      ...(bound ? { max_cost_usd: usd(amount) } : {}),
    };
  }

  function start() {
    if (!watching) last = ask();
  }

  async function ask() {
    const body = question();
    if (!body) return;
    const agent = chosen();
    const exchange = new Exchange(body.message, named(agent));
    byId("conversation").append(exchange.node);
    byId("empty").hidden = true;
    message.value = "";
    exchange.node.scrollIntoView({ block: "start" });
    const mine = (watching = new AbortController());
    const asking = client();
    let run = "";
    busy(true);
    say("Asking \u2026");
    try {
      await follow(asking, `v1/agents/${encodeURIComponent(agent)}/stream`, body, {
        signal: mine.signal,
        onEvent: (name, data) => {
          if (name === "run.started") run = text(data.run_id);
          return handle(exchange, agent, name, data);
        },
        onWait: (seconds) => say(`The connection broke. Trying again in ${seconds} s \u2026`),
      });
    } catch (error) {
      if (mine.signal.aborted) {
        exchange.fail(await stopped(asking, run));
        if (watching === mine) say("Stopped.");
      } else {
        failed(exchange, error);
      }
    } finally {
      if (watching === mine) {
        watching = null;
        busy(false);
      }
      onFinished();
    }
  }

  /** Show one event of the run; true when it was the last. */
  function handle(exchange, agent, name, data) {
    if (name === "run.started") {
      if (text(data.session_id)) session = { id: data.session_id, agent };
      say("The agent has begun \u2026");
    } else if (name === "progress") say(`${exchange.progress(data)} \u2026`);
    else if (name === "token") exchange.token(data.text);
    else if (name === "tool.started") exchange.toolStarted(data);
    else if (name === "tool.completed") exchange.toolCompleted(data);
    else if (name === "usage") exchange.usage(data);
    else if (name === "run.completed") {
      exchange.complete(data);
      spend(text(data.cost_usd));
      const cost = shown(data.cost_usd);
      say(`Answer complete.${cost && ` Cost: ${cost}.`}`);
      return true;
    } else if (name === "error") {
      failed(exchange, new ProblemError(Number(data.status) || 500, data));
      return true;
    }
    return false;
  }

  function failed(exchange, error) {
    const problem = record(error.problem);
    const title = text(problem.title) || (error instanceof ProblemError ? error.message : "No answer.");
    exchange.fail({
      title: title.endsWith(".") ? title : `${title}.`,
      detail: [error.message, wait(error)].filter(Boolean).join(" "),
      faults: error.faults,
      costUsd: problem.cost_usd,
      correlationId: text(error.correlationId),
    });
    spend(text(problem.cost_usd));
    message.value ||= exchange.question; // to ask again, unless the reader has begun another one
    say("No answer; the reason is above.");
  }

  function busy(now) {
    const [from, to] = now ? [byId("send"), byId("stop")] : [byId("stop"), byId("send")];
    const focused = document.activeElement === from;
    byId("send").disabled = now;
    byId("stop").hidden = !now;
    for (const radio of form.querySelectorAll("input[name=agent]")) radio.disabled = now;
    // Who pressed the button that goes keeps a place to go on from; everybody else is left where he is.
    if (focused) to.focus({ preventScroll: true });
  }

  /** Show a session of the past, and go on with it. */
  async function open(past) {
    begin("Opening the session \u2026");
    const mine = (watching = new AbortController());
    busy(true);
    try {
      const messages = await messagesOf(client(), past.id, mine.signal);
      const agent = text(past.agent);
      const radio = [...form.querySelectorAll("input[name=agent]")].find((one) => one.value === agent);
      if (radio) {
        radio.checked = true;
        describe(text(past.processor));
        session = { id: past.id, agent };
      } // else its agent is gone: it can be read, and the next question begins another session
      byId("empty").hidden = messages.length > 0;
      replay(messages, named(agent));
      say(`The session is open; ${messages.length} messages.`);
      byId("chat-heading").focus();
    } catch (error) {
      if (!mine.signal.aborted) say(`The session could not be opened. ${inWords(error)}`);
    } finally {
      if (watching === mine) {
        watching = null;
        busy(false);
      }
    }
  }

  function replay(messages, agent) {
    let pending = null;
    for (const { role, content, detail } of messages.map(record)) {
      if (role === "user") {
        pending?.fail({ title: "No answer was recorded." });
        pending = new Exchange(text(content), agent);
        byId("conversation").append(pending.node);
      } else if (role === "assistant") {
        const result = { answer: text(content), ...record(detail) };
        const exchange = pending ?? new Exchange("", agent);
        if (!pending) byId("conversation").append(exchange.node);
        exchange.complete(result);
        spend(text(result.cost_usd));
        pending = null;
      }
    }
    pending?.fail({ title: "No answer was recorded." });
  }

  return { showAgents, begin, open, settled: () => last, sessionId: () => session?.id ?? null };
}

const wait = (error) =>
  error instanceof ProblemError && error.retryAfterSeconds ? `Try again in ${error.retryAfterSeconds} s.` : "";

/** End a run that nobody waits for any more, and say what that means. */
async function stopped(client, run) {
  try {
    if (run) {
      await client.call(`v1/runs/${encodeURIComponent(run)}`, { method: "DELETE" });
      return { title: "You stopped the run.", detail: "What it had begun by then is charged." };
    }
  } catch {
    // Told below: the server ends it by itself, when nobody has come back for a while.
  }
  return { title: "You stopped watching.", detail: "The agent may go on for a while, and what it does is charged." };
}

async function messagesOf(client, id, signal) {
  const messages = [];
  let cursor = "";
  for (let page = 0; page < PAGES; page += 1) {
    const query = cursor ? `?after=${encodeURIComponent(cursor)}` : "";
    const answer = await client.call(`v1/sessions/${encodeURIComponent(id)}/messages${query}`, { signal });
    messages.push(...list(answer.messages));
    cursor = text(answer.next_cursor) || text(answer.next);
    if (!cursor) break;
  }
  return messages;
}
