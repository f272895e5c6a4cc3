// A job's page: how far it is comes with the stream of events; its piece of the page is worded by the server.

import { piece } from "./api.js";

const place = document.querySelector("[data-job]");
let under = false;
let again = false;

async function refresh() {
  if (under) {
    again = true;
    return;
  }
  under = true;
  try {
    const open = place.querySelector("details")?.open;
    place.innerHTML = await piece(`/jobs/${place.dataset.job}/state`);
    if (open) place.querySelector("details")?.setAttribute("open", "");
  } finally {
    under = false;
    if (again) {
      again = false;
      setTimeout(refresh, 300);
    }
  }
}

document.querySelector("[data-live]")?.addEventListener("job", (event) => {
  const told = typeof event.detail?.data === "string" ? JSON.parse(event.detail.data) : event.detail;
  if (told?.id === place.dataset.job) refresh();
});
// a stream may have been lost for a moment: an open job is looked at now and then
setInterval(() => { if (place.querySelector("progress, [data-job-state=waiting]")) refresh(); }, 3000);
