/** Descriptions of the explanation methods in the API's OpenAPI document. */
import type { Method } from "./api/client";

interface MethodInfo {
  text: string;
  /** Whether the page offers to choose the number of samples. */
  samples?: boolean;
}

/** The type check fails if these names differ from the methods of the document. */
const METHODS: Record<Exclude<Method, "auto">, MethodInfo> = {
  exact: {
    text: "every combination of features was tried, so these are the Shapley values themselves",
  },
  deep: {
    text: "contributions were carried back through the network's layers by rules: quick, and an approximation",
  },
  gradient: {
    text: "slopes were averaged along the way from the background to this row: an approximation",
  },
  permutation: {
    text: "features were switched in random orders many times and the effects averaged: right on average",
    samples: true,
  },
  kernel: {
    text: "a weighted line was fitted through many combinations of features",
    samples: true,
  },
};

/** Undefined for an unknown method. */
export function methodInfo(method: string): MethodInfo | undefined {
  return Object.hasOwn(METHODS, method) ? METHODS[method as keyof typeof METHODS] : undefined;
}
