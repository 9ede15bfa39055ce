// Describes a stream's frames in words: size, format, number, time, rate and age. Knows no element.

/** A stream is silent after this time without a frame, while other streams of its camera continue. */
const SILENT_MILLIS = 1000;

/** Returns the parts of a line about a stream: `described` is its status, `frame` its last frame, or undefined. */
export function factsOf(described, frame) {
  return {
    form: [described.size?.join("x"), described.format].filter(Boolean).join(" "),
    number: frame ? `#${frame.number}` : "",
    time: frame ? timeText(frame) : "",
    rate: rateText(described),
  };
}

/** Returns the rate of a stream, or for how long it has been silent; empty if its frames are not counted. */
export function rateText({ rate_hz: rate, age_ms: age }) {
  if (age !== null && age >= SILENT_MILLIS) return `no frames for ${(age / 1000).toFixed(1)} s`;
  return rate === null ? "" : `${rate.toFixed(1)} Hz`;
}

/** Returns whether a stream that had frames has none any more. */
export function isSilent({ age_ms: age }) {
  return age !== null && age >= SILENT_MILLIS;
}

/** Returns the time of day by a clock of the host, otherwise the seconds of the device's clock. */
function timeText({ timestamp_ms: millis, clock }) {
  if (clock === "hardware") return `${(millis / 1000).toFixed(3)} s`;
  const date = new Date(millis);
  const two = (number) => String(number).padStart(2, "0");
  const seconds = `${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  return `${two(date.getHours())}:${two(date.getMinutes())}:${seconds}`;
}
