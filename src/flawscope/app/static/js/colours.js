// The heat map's 256 colours: inferno from 0.3 to 1, as imaging/overlay.py draws them (a test compares both). Red,
// green and blue in turn, each told by how much it differs from the colour before: m is no change, n one more.
const FIRST = [106, 23, 110];
const STEPS =
  "onmnmmonmmmmommnnmmmmommnnmonlmmmnmmonmmmmommnnmmmmomlnnmmmmonmomlnnmmmmommnnlmmmommonlnmmmmmonm" +
  "nnlmmmommnnlmmmommonlmmmnmmonlnnlmmmommonlmmmnmmonlnnlmmmomlnnmmmmonlnmlmmmonmonlmmmnmlonlnnlmmm" +
  "ommnnlmmmonlnnlomlmmmnnlonlmmmnnlonlmmmnnlnmlmmmonlnnlonlmmmnnlnnlmmmonlnnlmmmnnlonlnnlmmmnnlonl" +
  "mmmnnlnnlmmmnolonknnlmmmnnlnnlmmmnolonlnnkmmmnnlnolmmmnnlnnlmmmnolnnkmmmnolnnlnnlmmmnolnnkmmmnol" +
  "nnlmmmmolnnknolmmmnnlnolmmmmoknnlmmmnolmoknnlmmmnolmokmmmnnlnolmmmmoknnlmolmmmnolmokmmmnnlmolmmm" +
  "moknolmnlmmmmolnolmmmmolmommmmnolmnmmommmmmommonmmmnommonmmmmonmonmnommmmonmoommmmoomonmoommmmoo" +
  "moommmloomopmmmmoomoommmmoolopmoommmmoomopmmmlnomopmopmmmloomopmmmlopmopmmmlopmopmmmlopmoplopmmm" +
  "moqmopmmmloqmoplnqmmmmoqmoqmmmloqmnqmmmmoqmoqmmmnnqmornnqmmmmnqnoqmmmnnqnnqmmmonqnnpnnqmmmoop";

export const COLOURS = new Uint8Array(FIRST.length + STEPS.length);
COLOURS.set(FIRST);
for (let i = 0; i < STEPS.length; i += 1) COLOURS[i + 3] = COLOURS[i] + STEPS.charCodeAt(i) - 109;
