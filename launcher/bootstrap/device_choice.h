// Which CUDA device each rank takes.
#pragma once

#include <string>
#include <vector>

namespace cohort {

// One device a rank: the first that it sees and that no rank before it has. So ranks that see all devices of their host
// take them in order, and a rank to which its launcher shows one, as Slurm's --gpus-per-task does, takes that one.
// ids_of: by rank, what tells the devices that it sees from every other device of the world, in the order of their CUDA
// ordinals. Returns ordinals by rank; -1 for a rank that sees none, or none that is left.
std::vector<int> choose_devices(const std::vector<std::vector<std::string>>& ids_of);

}  // namespace cohort
