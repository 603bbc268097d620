/** The explanation methods of the API's document, in words. */
import type { Method } from "./api/client";

interface Description {
  words: string;
  /** Whether the page offers to choose the number of samples. */
  samples?: boolean;
}

/** The type check fails if a method of the document is missing here, or if the document has no such method. */
const METHODS: Record<Exclude<Method, "auto">, Description> = {
  exact: {
    words: "every combination of features was tried, so these are the Shapley values themselves",
  },
  deep: {
    words: "contributions were carried back through the network's layers by rules: quick, and an approximation",
  },
  gradient: {
    words: "slopes were averaged along the way from the background to this row: an approximation",
  },
  permutation: {
    words: "features were switched in random orders many times and the effects averaged: right on average",
    samples: true,
  },
  kernel: {
    words: "a weighted line was fitted through many combinations of features",
    samples: true,
  },
};

/** Undefined for a name that the document does not have. */
export function described(method: string): Description | undefined {
  return Object.hasOwn(METHODS, method) ? METHODS[method as keyof typeof METHODS] : undefined;
}
