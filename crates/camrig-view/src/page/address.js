// The settings in the page's address, so that back and reload keep them. Does not access elements of the page.
//
// #camera=front&streams=color,depth&range=0.5-3&view=3d

/** Reads settings. Missing and invalid values are null. */
export function readAddress(hash) {
  const values = new URLSearchParams(hash.replace(/^#/, ""));
  const streams = values.get("streams");
  const range = /^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$/.exec(values.get("range") ?? "")?.slice(1).map(Number);
  return {
    camera: values.get("camera"),
    streams: streams === null ? null : new Set(streams.split(",").filter((stream) => /^[a-z0-9-]{1,32}$/.test(stream))),
    range: range && range[0] < range[1] ? range : null,
    cloud: values.get("view") === "3d",
  };
}

/** Writes settings; values that are null or false are left out. */
export function writeAddress({ camera, streams, range, cloud }) {
  const values = new URLSearchParams();
  if (camera !== null) values.set("camera", camera);
  if (streams !== null) values.set("streams", [...streams].join(","));
  if (range !== null) values.set("range", range.join("-"));
  if (cloud) values.set("view", "3d");
  // A comma needs no escape in a fragment, and is easier to read.
  const text = String(values).replaceAll("%2C", ",");
  return text && `#${text}`;
}
