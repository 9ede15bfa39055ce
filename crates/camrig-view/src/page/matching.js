// One line about the matching of each processor. Knows no element.

/** Returns the line: matches per second, their spread, and each camera's share and offset, whatever its clock is. */
export function matchingText({ processor, rate_hz: rate, spread_us: spread, cameras }) {
  const each = cameras.map((camera) => `${camera.name} ${[shareText(camera), offsetText(camera)].filter(Boolean).join(" ")}`);
  const apart = `spread ${millis(spread.p50)}, 99 % within ${millis(spread.p99)}`;
  return [`${processor}: ${rate.toFixed(1)} matched/s`, apart, ...each].join(" · ");
}

/** Returns everything that is known, one line for each camera. */
export function matchingDetails({ processor, cameras }) {
  const lines = cameras.map(({ name, matched, unmatched, clock }) => {
    const reasons = Object.entries(unmatched).map(([reason, count]) => `${count} ${reason}`);
    const ticks = clock && `clock ${clock.offset_ms.toFixed(2)} ms behind the host, drift ${clock.drift_ppm.toFixed(1)} ppm, uncertain by ${clock.uncertainty_us.toFixed(0)} us`;
    return `${name}: ${[`${matched} matched`, ...reasons, ticks].filter(Boolean).join(", ")}`;
  });
  return [processor, ...lines].join("\n");
}

/** Returns the share of a camera's framesets that are in a match. */
function shareText({ matched, unmatched }) {
  const all = Object.values(unmatched).reduce((sum, count) => sum + count, matched);
  return all === 0 ? "–" : `${((100 * matched) / all).toFixed(1)} %`;
}

/** Returns by how much a camera's framesets are later than the earliest ones of their matches. */
function offsetText({ offset_us: offset }) {
  return offset === null ? "" : `+${(offset / 1000).toFixed(2)} ms`;
}

function millis(micros) {
  return `${(micros / 1000).toFixed(1)} ms`;
}
