/** Size of a picture or video, and the middle of what is orange in it: the thing that moves in the test picture. */
function pixels(shown) {
  const width = shown && (shown.videoWidth || shown.naturalWidth), height = width && (shown.videoHeight || shown.naturalHeight);
  if (!width) return null;
  const canvas = document.createElement("canvas"); canvas.width = 160; canvas.height = 90;
  const pen = canvas.getContext("2d"); pen.drawImage(shown, 0, 0, 160, 90);
  const data = pen.getImageData(0, 0, 160, 90).data;
  let count = 0, sum = 0;
  for (let at = 0; at < data.length; at += 4)
    if (data[at] > 180 && data[at + 2] < 110 && data[at] > data[at + 2] + 90) { count++; sum += (at / 4) % 160; }
  return { width, height, orange: count, middle: count ? sum / count : null };
}
