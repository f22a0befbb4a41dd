// The page: the key, and what happens when one is given, refused or forgotten.

import { createClient, inWords, isKey } from "./api.js";
import { createChat } from "./chat.js";
import { byId, list, record, text } from "./dom.js";
import { createPanels, showLimits } from "./panels.js";

// The key itself lives in the closure of this client, and nowhere else.
let client = null;

const chat = createChat(() => client, { onFinished: () => client && panels.refresh() });
const panels = createPanels(() => client, { onOpen: chat.open, current: chat.sessionId });

byId("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("key");
  const key = field.value.trim();
  if (!isKey(key)) {
    refuse(key ? "That is no API key: a key has no spaces and no special letters." : "Enter a key first.");
    return;
  }
  const button = event.currentTarget.querySelector("button");
  button.disabled = true;
  // Only a client in use may speak for the page: answers to a forgotten key come late.
  const mine = createClient(key, {
    onLimits: (limits) => mine === client && showLimits(limits),
    onRefused: () => mine === client && forget("The key is no longer accepted. Enter it again, or another one."),
  });
  try {
    const agents = list(record(await mine.call("v1/agents")).agents).map(record).filter((agent) => text(agent.id));
    if (!agents.length) throw new Error("The server knows no agents.");
    client = mine;
    field.value = "";
    enter(agents);
  } catch (error) {
    refuse(error.status === 401 ? "That key is not accepted." : inWords(error));
  } finally {
    button.disabled = false;
  }
});

byId("forget").addEventListener("click", () => forget(""));

function refuse(reason) {
  byId("key-fault").textContent = reason;
  byId("key").setAttribute("aria-invalid", String(Boolean(reason)));
  byId("key").focus();
}

function enter(agents) {
  refuse("");
  chat.showAgents(agents);
  chat.begin("");
  show(true);
  panels.refresh();
  byId("message").focus();
}

function forget(reason) {
  client = null;
  chat.begin("");
  panels.clear();
  byId("ask").reset();
  show(false);
  refuse(reason);
}

function show(inside) {
  byId("entry").hidden = inside;
  byId("workbench").hidden = !inside;
  byId("forget").hidden = !inside;
}
