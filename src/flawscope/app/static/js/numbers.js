// Numbers as the server writes them, for what changes under the hand.

const language = document.documentElement.lang;

/** Write a rate (0 to 1) with two significant digits, as `percent` of wording.py does. */
export function percent(rate) {
  const digits = rate === 0 ? {} : { minimumSignificantDigits: 2, maximumSignificantDigits: 2 };
  return new Intl.NumberFormat(language, digits).format(100 * rate) + (language === "ko" ? "%" : "\u202f%");
}
