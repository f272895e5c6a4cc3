// The files of dropped entries, with those of the folders among them, each with its path as a chosen folder's
// files have it; fetched when a folder is dropped. Fails with the first one that cannot be read.

export async function filesOf(entries) {
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      found.push(Object.defineProperty(file, "webkitRelativePath", { value: entry.fullPath.slice(1) }));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) break;
      for (const one of some) await walk(one);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}
