// The camera of this panel, fetched when it is opened: a picture of it is judged like any other.

let stream = null;

// Shows the camera's panel and returns whether there is a camera; what is taken goes to `take` as a file.
export async function openCamera(root, take) {
  const find = (selector) => root.querySelector(selector);
  const panel = find("[data-camera]");
  const video = find("[data-video]");
  const close = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    panel.hidden = true;
  };
  close();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } }, audio: false });
  } catch {
    return false;
  }
  video.srcObject = stream;
  panel.hidden = false;
  panel.scrollIntoView({ block: "center" });
  find("[data-camera-close]").onclick = close;
  find("[data-take]").onclick = () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      const name = `camera-${new Date().toISOString().replace(/[:.]/g, "-")}.png`;
      take([new File([blob], name, { type: "image/png" })]);
    }, "image/png");
  };
  return true;
}
