"""Judge an 8-bit photograph without flawscope (not for tiles): run_bundle.py model.flaw part.jpg"""

import json
import sys
import zipfile

import cv2
import numpy as np
import onnxruntime

with zipfile.ZipFile(sys.argv[1]) as bundle:
    spec = json.loads(bundle.read("manifest.json"))["preprocess"]
    known = json.loads(bundle.read("calibration.json"))
    session = onnxruntime.InferenceSession(bundle.read("graph.onnx"), providers=["CPUExecutionProvider"])
photo = cv2.cvtColor(cv2.imread(sys.argv[2]), cv2.COLOR_BGR2RGB)
(height, width), (size_h, size_w) = photo.shape[:2], spec["size_hw"]
scale = min(size_h / height, size_w / width, (spec.get("content_px", 1e12) / height / width) ** 0.5)
h, w = (size_h, size_w) if spec["fit"] == "stretch" else (round(height * scale), round(width * scale))
top, left = (size_h - h) // 2, (size_w - w) // 2
canvas = np.empty((1, size_h, size_w, 3), np.uint8)
canvas[:] = np.rint(np.array(spec["mean"]) * 255)  # around a letterboxed picture
how = cv2.INTER_AREA if h < height or w < width else cv2.INTER_LINEAR
canvas[0, top : top + h, left : left + w] = cv2.resize(photo, (w, h), interpolation=how)
content = np.array([[left, top, left + w, top + h]], np.float32)
score = float(session.run(["score"], {"image": canvas, "content_xyxy": content})[0][0])
odder = sum(weight for x, weight in zip(known["scores"], known["weights"], strict=True) if x >= score)
p = (1 + odder) / (known["parts"] + 1)  # a limit moved by cost or by hand stands in known["limit_ng"]
ng = p <= known["alpha"] if known["limit_ng"] is None else score > known["limit_ng"]
review = p <= known["review_alpha"] or odder == 0
print(f"score {score:.6f}   p {p:.2g}   {'NG' if ng else 'REVIEW' if review else 'OK'}")
