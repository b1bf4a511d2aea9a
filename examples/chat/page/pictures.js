// Makes a picture small enough to be sent in one message. What is drawn anew has also lost the camera's notes, where it
// was taken included; only a small GIF goes as it is, since drawing it would end its motion.

export const LARGEST_FILE = 30_000_000;
export const LARGEST_SENT = 400_000;
const STEPS = [
  [1600, 0.86],
  [1600, 0.72],
  [1280, 0.74],
  [1024, 0.72],
  [800, 0.7],
  [640, 0.6],
  [400, 0.5],
];

export class PictureError extends Error {}

export async function prepared(file) {
  if (file.type && !file.type.startsWith("image/")) throw new PictureError("Only pictures can be sent.");
  if (file.type === "image/svg+xml") throw new PictureError("Drawings in SVG cannot be sent. Try a PNG of it.");
  if (file.size > LARGEST_FILE) throw new PictureError("The file is too large: at most 30 MB.");

  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new PictureError("The browser cannot read this file as a picture.");
  }
  try {
    const { width, height } = bitmap;
    if (file.type === "image/gif" && file.size <= LARGEST_SENT && Math.max(width, height) <= 4096) {
      return { blob: file, width, height };
    }
    if (file.type === "image/png" && Math.max(width, height) <= STEPS[0][0]) {
      const exact = await drawn(bitmap, 1, "image/png");
      if (exact.blob.size <= LARGEST_SENT / 2) return exact;
    }
    for (const [side, quality] of STEPS) {
      const smaller = await drawn(bitmap, Math.min(1, side / Math.max(width, height)), "image/webp", quality);
      if (smaller.blob.size <= LARGEST_SENT) return smaller;
    }
  } finally {
    bitmap.close();
  }
  throw new PictureError("The picture could not be made small enough.");
}

async function drawn(bitmap, scale, type, quality) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  let blob = await encoded(canvas, type, quality);
  if (blob?.type !== type) {
    // Not every browser writes WebP. JPEG knows no transparency, so what was clear becomes white.
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    blob = await encoded(canvas, "image/jpeg", quality);
  }
  if (!blob) throw new PictureError("The browser could not draw this picture.");
  return { blob, width: canvas.width, height: canvas.height };
}

function encoded(canvas, type, quality) {
  return new Promise((resolve) => canvas.toBlob(resolve, type, quality));
}
