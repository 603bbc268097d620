/** Descriptions of the explanation methods in the API's OpenAPI document. */
import type { Method } from "./api/client";
import { words } from "./texts";

interface MethodInfo {
  text: string;
  /** Whether the page offers to choose the number of samples. */
  samples?: boolean;
}

/** The type check fails if these names differ from the methods of the document. */
const METHODS: Record<Exclude<Method, "auto">, MethodInfo> = {
  exact: {
    text: words.methods.exact,
  },
  deep: {
    text: words.methods.deep,
  },
  gradient: {
    text: words.methods.gradient,
  },
  permutation: {
    text: words.methods.permutation,
    samples: true,
  },
  kernel: {
    text: words.methods.kernel,
    samples: true,
  },
  owen: {
    text: words.methods.owen,
    samples: true,
  },
};

/** Undefined for an unknown method. */
export function methodInfo(method: string): MethodInfo | undefined {
  return Object.hasOwn(METHODS, method) ? METHODS[method as keyof typeof METHODS] : undefined;
}
