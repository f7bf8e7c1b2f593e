// What the tests of the page ask of it in a browser; texts are those that are shown.
(() => {
  const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (node.data.trim() && !parent.closest("script, style, option, optgroup") && shown(parent)) texts.push(node);
  }
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = ([red, green, blue]) => {
    const part = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const contrast = (element) => {
    const style = getComputedStyle(element);
    const ink = luminance(channels(element.closest("svg") ? style.fill : style.color));
    const paper = luminance(behind(element));
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  };
  const pixels = (element) => {
    const size = parseFloat(getComputedStyle(element).fontSize);
    const matrix = element.closest("svg") ? element.getScreenCTM() : { a: 1, b: 0 };
    return size * Math.hypot(matrix.a, matrix.b);
  };
  const boxes = texts.flatMap((node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return [...range.getClientRects()].map((box) => ({ box, node }));
  });
  const overlaps = [];
  const few = boxes.length < 1000 ? boxes : []; // every pair is compared; tables do not need it
  few.forEach(({ box: a, node: one }, index) => {
    for (const { box: b, node: other } of few.slice(index + 1)) {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (one !== other && wide > 1 && high > 3) overlaps.push(`${one.data.trim()} | ${other.data.trim()}`);
    }
  });
  const root = document.documentElement;
  const chart = document.querySelector(".choice:not([hidden]) .bars");
  return {
    faint: texts.filter((node) => contrast(node.parentElement) < 4.5).map((node) => node.data.trim()),
    small: texts.filter((node) => pixels(node.parentElement) < 11).map((node) => node.data.trim()),
    overlaps,
    height: root.scrollHeight,
    wide: root.scrollWidth - root.clientWidth,
    chartEnds: chart ? chart.getBoundingClientRect().bottom + scrollY : 0,
    texts: texts.length,
  };
})();
