// US dollars as decimal strings and as BigInt nano-dollars. Never as floating-point numbers: they do not add up.

const DIGITS = 9;

/** Nano-dollars of a decimal string such as "0.0125"; null where it is none. */
export function nano(usd) {
  const match = /^(-?)(\d{1,15})(?:\.(\d{1,9}))?$/.exec(typeof usd === "string" ? usd.trim() : "");
  if (!match) return null;
  const amount = BigInt(match[2] + (match[3] ?? "").padEnd(DIGITS, "0"));
  return match[1] ? -amount : amount;
}

/** The decimal string of nano-dollars, without zeros that say nothing. */
export function usd(amount) {
  const digits = (amount < 0n ? -amount : amount).toString().padStart(DIGITS + 1, "0");
  const fraction = digits.slice(-DIGITS).replace(/0+$/, "");
  return `${amount < 0n ? "-" : ""}${digits.slice(0, -DIGITS)}${fraction && `.${fraction}`}`;
}

/** An amount for people: at least cents, e.g. "$0.00", "$1.50", "$0.0125"; "" where it is none. */
export function shown(amount) {
  const value = typeof amount === "bigint" ? amount : nano(amount);
  if (value === null) return "";
  const [whole, fraction = ""] = usd(value < 0n ? -value : value).split(".");
  return `${value < 0n ? "\u2212" : ""}$${whole}.${fraction.padEnd(2, "0")}`;
}
