// The files of a drop, with those in its folders. What was dropped is known during the event only.

export async function dropped(transfer) {
  const plain = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  return entries.some((entry) => entry.isDirectory) ? (await import("./folders.js")).filesOf(entries) : plain;
}
