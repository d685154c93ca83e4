// A product's sums as inline PTX lists them: their places in its text, and the operands that stand for those.
#pragma once

// REGISTERS_n: the first n operands.
#define REGISTERS_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define REGISTERS_16 REGISTERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define REGISTERS_24 REGISTERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define REGISTERS_32 REGISTERS_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define REGISTERS_40 REGISTERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define REGISTERS_48 REGISTERS_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define REGISTERS_56 REGISTERS_48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define REGISTERS_64 REGISTERS_56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define REGISTERS_72 REGISTERS_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define REGISTERS_80 REGISTERS_72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define REGISTERS_88 REGISTERS_80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define REGISTERS_96 REGISTERS_88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define REGISTERS_104 REGISTERS_96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define REGISTERS_112 REGISTERS_104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define REGISTERS_120 REGISTERS_112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define REGISTERS_128 REGISTERS_120 ", %120, %121, %122, %123, %124, %125, %126, %127"

// SUM_n(kept, j): n elements of sum[...][4] from sum[j] on, each under the constraint `kept`.
#define SUM_8(kept, j) \
  kept(sum[j][0]), kept(sum[j][1]), kept(sum[j][2]), kept(sum[j][3]), kept(sum[j + 1][0]), kept(sum[j + 1][1]), \
      kept(sum[j + 1][2]), kept(sum[j + 1][3])
#define SUM_16(kept, j) SUM_8(kept, j), SUM_8(kept, j + 2)
#define SUM_24(kept, j) SUM_16(kept, j), SUM_8(kept, j + 4)
#define SUM_32(kept, j) SUM_24(kept, j), SUM_8(kept, j + 6)
#define SUM_40(kept, j) SUM_32(kept, j), SUM_8(kept, j + 8)
#define SUM_48(kept, j) SUM_40(kept, j), SUM_8(kept, j + 10)
#define SUM_56(kept, j) SUM_48(kept, j), SUM_8(kept, j + 12)
#define SUM_64(kept, j) SUM_56(kept, j), SUM_8(kept, j + 14)
#define SUM_72(kept, j) SUM_64(kept, j), SUM_8(kept, j + 16)
#define SUM_80(kept, j) SUM_72(kept, j), SUM_8(kept, j + 18)
#define SUM_88(kept, j) SUM_80(kept, j), SUM_8(kept, j + 20)
#define SUM_96(kept, j) SUM_88(kept, j), SUM_8(kept, j + 22)
#define SUM_104(kept, j) SUM_96(kept, j), SUM_8(kept, j + 24)
#define SUM_112(kept, j) SUM_104(kept, j), SUM_8(kept, j + 26)
#define SUM_120(kept, j) SUM_112(kept, j), SUM_8(kept, j + 28)
#define SUM_128(kept, j) SUM_120(kept, j), SUM_8(kept, j + 30)
